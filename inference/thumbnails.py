"""A small picture of an image that a version took, for people who look at its prediction: a PNG of at most 2 kB.

The image is averaged down to 32 pixels a side at most, and its channels to 16 levels, which keeps the file small
whatever it shows. It is written by the PNG specification (ISO/IEC 15948): 8 bits a channel, grey or RGB, no interlace.
"""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.signatures import CHANNEL_AXES, ImageSpec

MAX_SIDE = 32
_LEVELS = 16
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2
_COLOUR_TYPES = {1: _GREY, 3: _RGB}


def draw_thumbnail(image: NDArray[Any], spec: ImageSpec) -> bytes | None:
    """Draw one image, laid out as `spec` says without its rows; None where it has no pixel or one that is not finite.

    Values outside of the declared range are drawn as black or white. A fourth channel is left out; of other numbers of
    channels the mean is drawn in grey.
    """
    if not image.size:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        small = _as_grey_or_rgb(_shrink(_channels_last(image, spec)))
        share = (small - spec.low) / (spec.high - spec.low)
    if not np.isfinite(share).all():
        return None
    levels = np.rint(share.clip(0, 1) * (_LEVELS - 1)) * (255 // (_LEVELS - 1))
    return _png(levels.astype(np.uint8))


def _channels_last(image: NDArray[Any], spec: ImageSpec) -> NDArray[Any]:
    """Return a view of H x W x C, without opacity."""
    axis = CHANNEL_AXES[spec.layout]
    pixels = image[..., None] if axis is None else np.moveaxis(image, axis - 1, 2)
    return pixels[..., :3] if pixels.shape[2] == 4 else pixels


def _as_grey_or_rgb(small: NDArray[np.float64]) -> NDArray[np.float64]:
    return small if small.shape[2] in _COLOUR_TYPES else small.mean(axis=2, keepdims=True)


def _shrink(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Average blocks of pixels so that the longer side has `MAX_SIDE` at most, and proportions stay."""
    small: NDArray[Any] = pixels
    scale = min(1.0, MAX_SIDE / max(pixels.shape[:2]))
    for axis in (0, 1):
        size = small.shape[axis]
        wanted = max(1, round(size * scale))
        edges = np.arange(wanted + 1) * size // wanted
        bands = np.split(small, edges[1:-1], axis=axis)  # views: what may be large is read as it is
        small = np.stack([band.mean(axis=axis, dtype=np.float64) for band in bands], axis=axis)
    return small


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Write H x W x C as a PNG; each line of pixels begins with its filter, which is none."""
    height, width, channels = pixels.shape
    lines = np.zeros((height, 1 + width * channels), np.uint8)
    lines[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
