"""The `metadata` part of an upload: names for columns, outputs and classes."""

import re
from typing import Literal

import msgspec
from msgspec import Struct, field

from driftline.base.errors import UNREADABLE
from inference.registry.intake.errors import IntakeRefused, shown
from inference.signatures import Signature

CPU = "cpu"  # as in inference.runtime.providers, which loads ONNX Runtime
FeatureType = Literal["float", "int", "bool", "string"]
ImageLayout = Literal["NCHW", "NHWC", "NHW"]


class FeatureDeclaration(Struct, frozen=True, forbid_unknown_fields=True):
    """One feature; without `type` the graph's own type is taken."""

    name: str
    type: FeatureType | None = None


class OutputNames(Struct, frozen=True, forbid_unknown_fields=True):
    """Which outputs of the graph hold the prediction, the class probabilities, and an embedding of the input."""

    prediction: str | None = None
    probabilities: str | None = None
    embedding: str | None = None


class ImageDeclaration(Struct, frozen=True, forbid_unknown_fields=True):
    """The only input is an image a row; `range` has the values of black and white, usually 0 and 1, or 0 and 255."""

    layout: ImageLayout
    range: tuple[float, float] | None = None


class UploadMetadata(Struct, frozen=True, forbid_unknown_fields=True):
    """What the uploader says of the model; every part is optional where the graph says it itself."""

    features: list[FeatureDeclaration] = field(default_factory=list)
    outputs: OutputNames = OutputNames()
    classes: list[str | int] = field(default_factory=list)
    positive_class: str | int | None = None
    missing: dict[str, str] = field(default_factory=dict)
    image: ImageDeclaration | None = None
    execution_provider: str = CPU

    @property
    def class_texts(self) -> list[str]:
        """Classes as labels write them: labels equal classes by their text."""
        return [str(label) for label in self.classes]


def declare(signature: Signature) -> UploadMetadata:
    """Return, as a file's metadata, what is known of the version that it was, or is made from."""
    image = signature.image
    return UploadMetadata(
        features=[FeatureDeclaration(feature.name, feature.type) for feature in signature.features],  # type: ignore[arg-type]
        outputs=OutputNames(
            signature.prediction_output, signature.probabilities_output, signature.embedding_output
        ),
        classes=list(signature.classes),
        positive_class=signature.positive_class,
        missing=signature.missing,
        image=image and ImageDeclaration(image.layout, (image.low, image.high)),  # type: ignore[arg-type]
    )


def parse_metadata(raw: bytes) -> UploadMetadata:
    """Read the metadata of an upload; raises `IntakeRefused` (`invalid_metadata`) with a JSON pointer."""
    try:
        metadata = msgspec.json.decode(raw, type=UploadMetadata)
    except msgspec.ValidationError as error:
        raise _refusal_from(str(error)) from error
    except UNREADABLE as error:
        raise _invalid("", f"The metadata is not JSON ({error}); send one JSON object.") from error
    _check_texts(metadata)
    _check_unique([feature.name for feature in metadata.features], "/features", "feature", "/name")
    _check_unique(metadata.class_texts, "/classes", "class")
    if metadata.execution_provider != CPU:
        _check_provider(metadata.execution_provider)
    return metadata


def _check_provider(name: str) -> None:
    # It loads ONNX Runtime, which a process that only passes uploads on does not need.
    from inference.runtime.providers import PROVIDERS

    if name not in PROVIDERS:
        raise _invalid(
            "/execution_provider",
            f"{shown(name)} is no execution provider; use one of {', '.join(PROVIDERS)}.",
        )


def _refusal_from(message: str) -> IntakeRefused:
    """Turn msgspec's "<what> - at `$.a[0].b`" into a sentence and a pointer."""
    what, _, place = message.partition(" - at `")
    keys = re.findall(r"\[(\d+)\]|\.([^.\[]+)", place.rstrip("`").replace("[...]", ""))
    pointer = "".join(f"/{index or name}" for index, name in keys)
    unknown = re.search(r"unknown field `(.*)`", what)
    if unknown:
        pointer += "/" + unknown[1].replace("~", "~0").replace("/", "~1")
    return _invalid(pointer, f"The metadata is not as expected at {shown(pointer or '/')}: {what}.")


def _check_texts(metadata: UploadMetadata) -> None:
    named = [
        *((f"/features/{index}/name", feature.name) for index, feature in enumerate(metadata.features)),
        *((f"/classes/{index}", text) for index, text in enumerate(metadata.class_texts)),
        *(("/missing", text) for item in metadata.missing.items() for text in item),
    ]
    for pointer, text in named:
        if not 1 <= len(text) <= 200 or not text.isprintable():
            raise _invalid(pointer, f"{shown(text)} will not do; use 1 to 200 printable characters.")


def _check_unique(values: list[str], pointer: str, noun: str, suffix: str = "") -> None:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            raise _invalid(f"{pointer}/{index}{suffix}", f"The {noun} {shown(value)} is named twice.")
        seen.add(value)


def _invalid(pointer: str, detail: str) -> IntakeRefused:
    return IntakeRefused("invalid_metadata", 422, detail, pointer)
