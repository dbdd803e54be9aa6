"""The few numbers that images and embeddings become, by the code that measures them for the server's own log."""

from collections.abc import Mapping

import numpy as np

from driftline_agent.kernel_path import add_kernel_path
from driftline_agent.model import Array
from driftline_agent.server.manifest import Signature


def measure(
    signature: Signature, feed: Mapping[str, Array], outputs: Mapping[str, Array]
) -> dict[str, Array]:
    """Return a column for each number of the image and the embedding of a version; none where it has neither."""
    columns: dict[str, Array] = {}
    if signature.image is not None:
        columns |= _measure_images(signature, feed)
    if signature.embedding_output is not None:
        columns |= _measure_vectors(signature.embedding_output, outputs[signature.embedding_output])
    return {name: np.where(np.isfinite(values), values, np.nan) for name, values in columns.items()}


def _measure_images(signature: Signature, feed: Mapping[str, Array]) -> dict[str, Array]:
    add_kernel_path()
    from inference.images import describe_images  # most versions need neither
    from inference.signatures import ImageSpec

    [spec], image = signature.inputs, signature.image
    assert image is not None
    return describe_images(spec.name, feed[spec.name], ImageSpec(image.layout, image.low, image.high))


def _measure_vectors(name: str, vectors: Array) -> dict[str, Array]:
    """Measure what the server would: one vector of numbers a row."""
    add_kernel_path()
    from inference.vector_names import MAX_DIMENSION, MIN_DIMENSION
    from inference.vectors import describe_vectors

    if (
        vectors.ndim != 2
        or vectors.dtype.kind != "f"
        or not MIN_DIMENSION <= vectors.shape[1] <= MAX_DIMENSION
    ):
        return {}
    return describe_vectors(name, vectors.astype(np.float32))
