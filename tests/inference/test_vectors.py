"""What is kept of vectors."""

import numpy as np
import pytest
from sklearn.random_projection import johnson_lindenstrauss_min_dim

from inference.vector_names import DIRECTIONS, part_names, vector_of, vectors_in, whole_of
from inference.vectors import describe_rows, describe_vectors, directions_of

RNG = np.random.default_rng(3)


class TestDirections:
    @pytest.mark.parametrize("dimension", [2, 16, 17, 128, 4_096])
    def test_have_length_one(self, dimension: int) -> None:
        directions = directions_of(dimension)

        np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0)
        assert len(directions) == min(dimension, DIRECTIONS)

    def test_are_the_same_for_ever(self) -> None:
        """A summary of last year must compare with one of today: these signs may never change."""
        signs = ["".join("+" if value > 0 else "-" for value in row[:8]) for row in directions_of(128)[:3]]

        assert signs == ["+------+", "+--+--++", "+-++-+--"]

    def test_of_several_hundred_dimensions_are_nearly_at_right_angles(self) -> None:
        directions = directions_of(768)

        angles = directions @ directions.T - np.eye(DIRECTIONS)
        assert np.abs(angles).max() < 0.2

    def test_keep_lengths_as_far_as_so_few_can(self) -> None:
        """Johnson and Lindenstrauss: with k directions the mean of d (u x)^2 is |x|^2, with a spread of sqrt(2 / k)."""
        vectors = RNG.normal(size=(2_000, 256))

        kept = 256 * (vectors @ directions_of(256).T) ** 2
        ratios = kept.mean(axis=1) / (vectors**2).sum(axis=1)

        assert ratios.mean() == pytest.approx(1.0, abs=0.02)
        assert ratios.std() == pytest.approx(np.sqrt(2 / DIRECTIONS), rel=0.1)
        assert johnson_lindenstrauss_min_dim(2, eps=0.9) <= DIRECTIONS + 1


class TestDescribe:
    def test_equals_a_plain_product(self) -> None:
        vectors = RNG.normal(size=(50, 64))

        features = describe_vectors("photo", vectors)

        np.testing.assert_allclose(
            np.column_stack([features[name] for name in part_names("photo", 64)[:-1]]),
            vectors @ directions_of(64).T,
            rtol=1e-5,
            atol=1e-6,
        )
        np.testing.assert_allclose(features["photo.norm"], np.linalg.norm(vectors, axis=1), rtol=1e-6)

    def test_of_few_numbers_keeps_each(self) -> None:
        features = describe_vectors("place", np.array([[3.0, 4.0]]))

        assert {name: values.tolist() for name, values in features.items()} == {
            "place.projection_01": [3.0],
            "place.projection_02": [4.0],
            "place.norm": [5.0],
        }

    def test_does_not_depend_on_which_rows_come_together(self) -> None:
        vectors = RNG.normal(size=(30, 512))

        together = describe_vectors("photo", vectors)
        apart = [describe_vectors("photo", vectors[rows]) for rows in (slice(0, 7), slice(7, 30))]

        for name, values in together.items():
            np.testing.assert_allclose(values, np.concatenate([part[name] for part in apart]), rtol=1e-6)

    def test_of_a_vector_with_a_gap_is_missing_as_a_whole(self) -> None:
        features = describe_vectors("photo", np.array([[1.0, np.nan, 2.0]]))

        assert all(
            np.isnan(values).all() for name, values in features.items() if name != "photo.projection_01"
        )

    def test_survives_numbers_whose_squares_no_float_holds(self) -> None:
        features = describe_vectors("photo", np.full((1, 32), 1e300))

        assert not np.isfinite(features["photo.norm"][0])


class TestRows:
    def test_without_a_vector_are_missing(self) -> None:
        features, dimensions = describe_rows("photo", [[1.0, 2.0], None])

        assert dimensions.tolist() == [2, 0]
        assert features["photo.norm"][0] == pytest.approx(np.sqrt(5.0))
        assert np.isnan(features["photo.norm"][1])

    def test_of_two_dimensions_are_each_described_by_their_own_directions(self) -> None:
        features, dimensions = describe_rows("photo", [[1.0, 0.0], [0.0, 1.0, 0.0]])

        assert dimensions.tolist() == [2, 3]
        assert np.isnan(features["photo.projection_03"][0])
        assert features["photo.projection_02"].tolist() == [0.0, 1.0]

    @pytest.mark.parametrize("length", [0, 1, 4_097])
    def test_of_a_dimension_that_no_vector_has_are_refused(self, length: int) -> None:
        with pytest.raises(ValueError, match="2 to 4096"):
            describe_rows("photo", [[0.0] * length])


class TestNames:
    def test_tell_a_vector_by_all_of_its_parts(self) -> None:
        names = [*part_names("photo", 700), "income", *part_names("place", 2)[:-1], "x.norm"]

        assert vectors_in(names) == {"photo": tuple(part_names("photo", 700))}
        assert whole_of(dict.fromkeys(names))["photo.projection_07"] == "photo"

    @pytest.mark.parametrize(
        "name", ["income", ".norm", "a.projection_", "a.projection_00", "a.projection_17", "a.projection_1"]
    )
    def test_of_other_features_are_no_parts(self, name: str) -> None:
        assert vector_of(name) is None
