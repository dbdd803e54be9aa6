"""What is measured of images: three numbers in place of pixels, which are kept nowhere.

An image becomes `name.brightness`, the mean of its luminance, `name.contrast`, the standard deviation of it, and
`name.sharpness`, the variance of its Laplacian: of two images of one scene the blurred one has less (Pech-Pacheco and
others 2000, Diatom autofocusing in brightfield microscopy). Luminance is that of ITU-R BT.709, brought to 0 to 1 by the
range that the values are declared to have; the Laplacian is that of four neighbours with mirrored edges, as
`scipy.ndimage.laplace` has it.

Arrays only: no Django, no clock.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.image_names import SUFFIXES, image_parts
from inference.signatures import CHANNEL_AXES, ImageSpec

_LUMINANCE = (0.2126, 0.7152, 0.0722)  # of red, green and blue
_BLOCK_VALUES = 1 << 17  # of images, or of lines of one, that are measured at once: 1 MiB of float64 a step

Images = NDArray[Any]
"""Numbers of one image a row, laid out as an `ImageSpec` says."""


def describe_images(name: str, images: Images, spec: ImageSpec) -> dict[str, NDArray[np.float64]]:
    """Return the features of one row each that images become.

    A row is missing in all of them where its image has a NaN, an infinity or no pixel. Values outside of the range that
    `spec` declares count as what they are: brightness may lie below 0 or above 1.

    >>> black_and_white = np.array([[[0, 255], [0, 255]]], np.uint8)
    >>> found = describe_images("photo", black_and_white, ImageSpec("NHW", 0, 255))
    >>> [float(values[0]) for values in found.values()]
    [0.5, 0.5, 1.0]
    """
    measured = np.full((len(SUFFIXES), len(images)), np.nan)
    if images.size:
        with np.errstate(over="ignore", invalid="ignore"):
            for rows in _blocks(images):
                measured[:, rows] = _measure(_by_channel(images[rows], spec), spec)
    measured[:, ~np.isfinite(measured).all(axis=0)] = np.nan
    return dict(zip(image_parts(name), measured, strict=True))


def _blocks(images: Images) -> Iterator[slice]:
    step = max(1, _BLOCK_VALUES // images[0].size)
    return (slice(start, start + step) for start in range(0, len(images), step))


def _by_channel(images: Images, spec: ImageSpec) -> NDArray[Any]:
    """Return a view of C x N x the longer side x the shorter one: what is measured is the same of a turned image."""
    axis = CHANNEL_AXES[spec.layout]
    channels = images[None] if axis is None else np.moveaxis(images, axis, 0)
    return channels.swapaxes(2, 3) if channels.shape[3] > channels.shape[2] else channels


def _measure(channels: NDArray[Any], spec: ImageSpec) -> NDArray[np.float64]:
    """Return brightness, contrast and sharpness, a row each, of sums over bands of lines: a large image is never whole.

    Sums are of what is above the mean of the first band, so that large numbers far from 0 lose no digits. The mean of a
    Laplacian with mirrored edges is 0.
    """
    count, images, height, width = channels.shape
    step = max(1, _BLOCK_VALUES // (count * images * width))
    shift, sums = np.zeros(images), np.zeros((3, images))
    for start in range(0, height, step):
        first = max(0, start - 1)  # a Laplacian needs the lines beside the band
        luminance = _luminance(channels[:, :, first : start + step + 1], spec)
        band = slice(start - first, start - first + step)
        if not start:
            shift = luminance[:, band].mean(axis=(1, 2))
        luminance -= shift[:, None, None]
        lines = luminance[:, band]
        sums += lines.sum(axis=(1, 2)), _square_sums(lines), _square_sums(_laplacian(luminance)[:, band])
    mean, square, sharpness = sums / (height * width)
    return np.stack([shift + mean, np.sqrt(np.maximum(square - mean**2, 0)), sharpness])


def _luminance(channels: NDArray[Any], spec: ImageSpec) -> NDArray[np.float64]:
    """Return N x H x W from 0 to 1; a fourth channel is opacity, and where there are others all weigh the same."""
    count = len(channels)
    weights = _LUMINANCE if count in (3, 4) else (1 / count,) * count
    total: NDArray[np.float64] = channels[0] * np.float64(weights[0])
    for channel, weight in zip(channels[1:], weights[1:], strict=False):
        total += channel * np.float64(weight)
    total -= spec.low
    total /= spec.high - spec.low
    return total


def _laplacian(luminance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of what each pixel's neighbours have more than itself; beyond an edge lies the pixel itself."""
    found = np.zeros_like(luminance)
    down, right = luminance[:, 1:] - luminance[:, :-1], luminance[:, :, 1:] - luminance[:, :, :-1]
    found[:, :-1] += down
    found[:, 1:] -= down
    found[:, :, :-1] += right
    found[:, :, 1:] -= right
    return found


def _square_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = np.einsum("ijk,ijk->i", values, values)  # BLAS would wait for its threads
    return squares
