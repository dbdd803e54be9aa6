"""What a model takes and gives, and where another server answers for it: the words that all of `inference` shares."""

from msgspec import Struct

from inference.image_names import image_parts
from inference.vector_names import vector_of

CHANNEL_AXES = {"NCHW": 1, "NHWC": 3, "NHW": None}
"""The layouts of images, and which axis of each holds the channels; N is the row."""


class TensorSpec(Struct, frozen=True):
    """A tensor's name, V2 datatype and shape; -1 stands for a variable dimension."""

    name: str
    datatype: str
    shape: list[int]


class Feature(Struct, frozen=True):
    """A named column; `type` is "float", "int", "bool" or "string"."""

    name: str
    type: str


class ImageSpec(Struct, frozen=True):
    """How the one input tensor holds images: `layout` is "NCHW", "NHWC" or "NHW", and black is `low`, white `high`."""

    layout: str
    low: float
    high: float


class Signature(Struct, frozen=True, omit_defaults=True):
    """What a version takes and gives.

    Either one input tensor [-1, F] with the columns `features` in order, or one input [-1, 1] for
    each feature, of the same name. `missing` maps a feature to the text that stands for a missing string.
    `task` is "binary", "multiclass", "regression" or "ranking". `embedding_output` is an output of one vector a row,
    which is logged beside the features, as is what `inference.images` measures of the input where that is an `image`.
    """

    features: list[Feature]
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    prediction_output: str | None
    probabilities_output: str | None
    classes: list[str]
    positive_class: str | None
    missing: dict[str, str]
    task: str
    embedding_output: str | None = None
    image: ImageSpec | None = None

    @property
    def image_input(self) -> str | None:
        """Name the input that is an image."""
        return self.inputs[0].name if self.image else None

    def makes(self, feature: str) -> bool:
        """Return whether a feature is one of the numbers that are made of the image or of the embedding."""
        if self.image_input is not None and feature in image_parts(self.image_input):
            return True
        return self.embedding_output is not None and vector_of(feature) == self.embedding_output


class EndpointSpec(Struct, frozen=True):
    """Another server that answers for a version.

    `protocol` is one of `inference.runtime.remote.protocols.PROTOCOLS`, `url` the server's address before the
    protocol's own path. `names` maps a tensor of the signature to the other server's name for it, where that differs.
    With `binary` it takes and gives V2's binary tensors. No call has more than `max_rows` rows, nor takes longer than
    `timeout_ms`. `credential` holds sealed headers: see `inference.runtime.remote.credentials`.
    """

    protocol: str
    url: str
    model: str
    version: str | None = None
    names: dict[str, str] = {}
    binary: bool = False
    max_rows: int = 1024
    timeout_ms: int = 10_000
    credential: str = ""
