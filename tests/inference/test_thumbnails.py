"""Small pictures of images, read back by the PNG specification."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from inference.signatures import ImageSpec
from inference.thumbnails import MAX_SIDE, draw_thumbnail

RGB, GREY = ImageSpec("NCHW", 0, 1), ImageSpec("NHW", 0, 255)
MAX_BYTES = 2_048


def pixels_of(png: bytes | None) -> NDArray[np.uint8]:
    """Read a PNG without a filter or interlace, and check each part of it."""
    assert png is not None
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(png):
        length, name = struct.unpack_from(">I4s", png, at)
        content = png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(name + content),)
        chunks[name] = content
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, rest) == (8, [0, 0, 0])
    channels = {0: 1, 2: 3}[colour]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width * channels)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, channels)


class TestDraw:
    def test_keeps_a_small_image_as_it_is_but_for_its_levels(self) -> None:
        image = np.array([[0, 255], [102, 51]], np.uint8)

        assert pixels_of(draw_thumbnail(image, GREY))[..., 0].tolist() == [[0, 255], [102, 51]]

    def test_averages_a_large_image_down_to_32_pixels_a_side(self) -> None:
        image = np.zeros((3, 224, 112), np.float32)
        image[0] = 1
        image[2, :112] = 1

        drawn = pixels_of(draw_thumbnail(image, RGB))

        assert drawn.shape == (32, 16, 3)
        assert (drawn[:16] == [255, 0, 255]).all()
        assert (drawn[16:] == [255, 0, 0]).all()

    def test_of_a_large_image_takes_a_few_mebibytes_to_draw(self) -> None:
        image = np.full((2_000, 3_000), 102, np.uint8)
        tracemalloc.start()

        drawn = pixels_of(draw_thumbnail(image, GREY))

        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (drawn == 102).all()
        assert peak < 8 << 20

    def test_draws_values_beyond_the_range_as_black_or_white(self) -> None:
        assert pixels_of(
            draw_thumbnail(np.array([[-1.0, 2.0]]), ImageSpec("NHW", 0, 1))
        ).ravel().tolist() == [0, 255]

    def test_leaves_opacity_out_and_draws_other_channels_in_grey(self) -> None:
        opaque = np.concatenate([np.ones((3, 2, 2)), np.zeros((1, 2, 2))])
        spectral = np.stack([np.full((2, 2), level) for level in (0.0, 0.4)])

        assert (pixels_of(draw_thumbnail(opaque, RGB)) == 255).all()
        assert (pixels_of(draw_thumbnail(spectral, RGB)) == 51).all()

    def test_does_not_depend_on_the_layout(self) -> None:
        image = np.random.default_rng(1).random((3, 50, 40))

        drawn = draw_thumbnail(image, RGB)

        assert draw_thumbnail(np.moveaxis(image, 0, 2), ImageSpec("NHWC", 0, 1)) == drawn

    @pytest.mark.slow
    @given(arrays(np.float32, st.tuples(st.sampled_from([1, 2, 3, 4]), st.integers(1, 70), st.integers(1, 70)),
                  elements=st.floats(-2, 2, width=32)))  # fmt: skip
    def test_is_small_and_keeps_proportions_whatever_is_shown(self, image: NDArray[np.float32]) -> None:
        png = draw_thumbnail(image, RGB)

        height, width, _ = pixels_of(png).shape
        assert png is not None
        assert len(png) <= MAX_BYTES
        assert max(height, width) == min(MAX_SIDE, max(image.shape[1:]))
        sides = sorted(image.shape[1:])
        assert min(height, width) == max(1, round(sides[0] * min(1.0, MAX_SIDE / sides[1])))

    @pytest.mark.parametrize("seed", range(5))
    def test_of_noise_has_two_kilobytes_at_most(self, seed: int) -> None:
        png = draw_thumbnail(np.random.default_rng(seed).random((3, 32, 32)), RGB)

        assert png is not None
        assert len(png) <= MAX_BYTES

    @pytest.mark.parametrize("shape", [(1, 10_000), (10_000, 1), (1, 1)])
    def test_of_a_line_or_a_point_has_a_pixel_at_least(self, shape: tuple[int, int]) -> None:
        drawn = pixels_of(draw_thumbnail(np.full(shape, 255, np.uint8), GREY))

        assert drawn.shape[:2] == tuple(min(side, MAX_SIDE) for side in shape)
        assert (drawn == 255).all()

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_draws_nothing_of_what_is_not_finite(self, value: float) -> None:
        image = np.zeros((3, 40, 40))
        image[1, 2, 3] = value

        assert draw_thumbnail(image, RGB) is None

    @pytest.mark.parametrize("shape", [(3, 0, 4), (3, 4, 0), (0, 4, 4)])
    def test_draws_nothing_of_no_pixel(self, shape: tuple[int, ...]) -> None:
        assert draw_thumbnail(np.zeros(shape), RGB) is None
