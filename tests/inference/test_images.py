"""What is measured of images, beside SciPy's Laplacian."""

import tracemalloc

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from inference import images
from inference.image_names import image_parts
from inference.images import describe_images
from inference.signatures import CHANNEL_AXES, ImageSpec

RGB = ImageSpec("NCHW", 0, 1)
BYTES = ImageSpec("NHW", 0, 255)
sizes = st.integers(1, 9)
pixels = st.floats(-1e3, 1e3, width=32)


def measured(pictures: NDArray[np.generic], spec: ImageSpec) -> NDArray[np.float64]:
    """Brightness, contrast and sharpness, a row each."""
    found = describe_images("photo", pictures, spec)
    assert list(found) == image_parts("photo") == ["photo.brightness", "photo.contrast", "photo.sharpness"]
    return np.stack(list(found.values()))


class TestDescribe:
    @given(st.data())
    def test_measures_what_scipy_measures(self, data: st.DataObject) -> None:
        shape = data.draw(st.tuples(st.integers(1, 3), sizes, sizes))
        pictures = data.draw(arrays(np.float32, shape, elements=pixels))
        low, high = data.draw(st.sampled_from([(0.0, 1.0), (0.0, 255.0), (-1.0, 1.0)]))

        found = measured(pictures, ImageSpec("NHW", low, high))

        scaled = (pictures.astype(np.float64) - low) / (high - low)
        expected = [[one.mean(), one.std(), scipy.ndimage.laplace(one).var()] for one in scaled]
        np.testing.assert_allclose(found.T, expected, rtol=1e-7, atol=1e-7)

    @given(arrays(np.float32, st.tuples(st.integers(1, 4), st.just(3), sizes, sizes), elements=pixels))
    def test_does_not_depend_on_the_layout(self, pictures: NDArray[np.float32]) -> None:
        found = measured(pictures, RGB)
        moved = measured(np.moveaxis(pictures, 1, 3), ImageSpec("NHWC", 0, 1))

        np.testing.assert_allclose(moved, found, rtol=1e-9, atol=1e-9)

    @given(arrays(np.float32, st.tuples(st.integers(1, 5), st.just(3), sizes, sizes), elements=pixels))
    def test_measures_each_image_by_itself(self, pictures: NDArray[np.float32]) -> None:
        together = measured(pictures, RGB)
        alone = np.hstack([measured(one[None], RGB) for one in pictures])

        np.testing.assert_allclose(together, alone, rtol=1e-9, atol=1e-9)

    def test_weighs_red_green_and_blue_as_eyes_do(self) -> None:
        primary = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1) * np.ones((1, 1, 4, 4), np.float32)

        brightness, contrast, sharpness = measured(primary, RGB)

        assert brightness.tolist() == [0.2126, 0.7152, 0.0722]
        assert contrast.tolist() == sharpness.tolist() == [0, 0, 0]

    def test_does_not_see_opacity_and_weighs_other_channels_alike(self) -> None:
        opaque = np.concatenate([np.ones((1, 3, 2, 2)), np.zeros((1, 1, 2, 2))], axis=1)
        spectral = np.arange(5.0).reshape(1, 5, 1, 1) * np.ones((1, 1, 2, 2))

        assert measured(opaque, RGB)[0] == pytest.approx([1.0])
        assert measured(spectral, RGB)[0] == pytest.approx([2.0])

    def test_finds_a_blurred_image_less_sharp_and_a_darker_one_less_bright(self) -> None:
        picture = np.random.default_rng(1).integers(0, 256, (1, 32, 32)).astype(np.uint8)
        blurred = scipy.ndimage.gaussian_filter(picture, (0, 1, 1))

        before, after = measured(picture, BYTES), measured(blurred, BYTES)

        assert after[2] < before[2] / 10
        assert after[0] == pytest.approx(before[0], abs=0.01)
        assert measured(picture // 2, BYTES)[0] < before[0]

    @pytest.mark.parametrize("layout", sorted(CHANNEL_AXES))
    def test_of_an_image_of_one_pixel_knows_its_brightness_alone(self, layout: str) -> None:
        picture = np.full((1,) * len(layout), 0.25, np.float32)

        assert measured(picture, ImageSpec(layout, 0, 1)).ravel().tolist() == [0.25, 0, 0]

    def test_is_exact_where_numbers_are_large_and_far_from_zero(self) -> None:
        board = np.indices((64, 64)).sum(axis=0) % 2 + 1e8

        _, contrast, sharpness = measured(board[None], ImageSpec("NHW", 0, 1))

        assert contrast == pytest.approx([0.5])
        assert sharpness == pytest.approx([scipy.ndimage.laplace(board - 1e8).var()])


class TestHostileImages:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
    def test_are_missing_and_leave_their_neighbours_alone(self, value: float) -> None:
        pictures = np.random.default_rng(2).random((3, 3, 8, 8))
        expected = measured(pictures, RGB)[:, [0, 2]]
        pictures[1, 0, 0, 0] = value

        found = measured(pictures, RGB)

        assert np.isnan(found[:, 1]).all()
        np.testing.assert_allclose(found[:, [0, 2]], expected)

    @pytest.mark.parametrize("shape", [(2, 3, 0, 8), (2, 3, 8, 0), (2, 0, 8, 8)])
    def test_without_pixels_are_missing(self, shape: tuple[int, ...]) -> None:
        assert np.isnan(measured(np.zeros(shape, np.float32), RGB)).all()

    def test_of_no_row_are_none(self) -> None:
        assert measured(np.zeros((0, 3, 8, 8), np.float32), RGB).shape == (3, 0)

    def test_that_are_many_or_large_are_measured_in_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pictures = np.random.default_rng(3).random((7, 3, 8, 8))
        expected = measured(pictures, RGB)

        for block in (1, 3 * 8 * 8 * 2):
            monkeypatch.setattr(images, "_BLOCK_VALUES", block)
            np.testing.assert_allclose(measured(pictures, RGB), expected)

    @pytest.mark.slow
    @pytest.mark.parametrize("shape", [(1, 2_000, 3_000), (1, 3_000, 2_000), (1, 1, 6_000_000)])
    def test_that_are_large_are_measured_within_a_few_mebibytes(self, shape: tuple[int, ...]) -> None:
        picture = np.random.default_rng(4).integers(0, 256, shape).astype(np.uint8)
        picture[:, :, : shape[2] // 2] //= 4
        tracemalloc.start()

        found = measured(picture, BYTES)

        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 << 20
        scaled = picture[0] / 255
        expected = [scaled.mean(), scaled.std(), scipy.ndimage.laplace(scaled).var()]
        np.testing.assert_allclose(found[:, 0], expected, rtol=1e-9)

    @pytest.mark.parametrize("kind", ["u1", "i8", "u8", "f2"])
    def test_of_any_numbers_are_measured(self, kind: str) -> None:
        pictures = np.arange(64).reshape(1, 8, 8).astype(kind)

        assert measured(pictures, BYTES)[0] == pytest.approx([31.5 / 255])
