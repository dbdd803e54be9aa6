"""Versions in memory: what is read from their outputs, and what of their inputs is logged."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from inference.prediction_log.spool.privacy import Privacy
from inference.prediction_log.spool.record import FeatureColumn, FeatureTable, cut_columns
from inference.runtime.session import Array, ModelRefused
from inference.serving.engine.completion import MAX_LOOP_VALUES
from inference.serving.plan import PlanModel
from inference.serving.versions.versions import FeatureLog, LoadedVersion, PredictionReader
from inference.signatures import Feature, ImageSpec, Signature, TensorSpec
from tests.inference.onnx_models import (
    classifier_signature,
    constant_classifier,
    embedding_model,
    embedding_signature,
    store,
    summing_signature,
)

BINARY = classifier_signature(2)


def floats(raw: bytes | None) -> list[float]:
    assert raw is not None
    return np.frombuffer(raw, "<f4").tolist()


def columns_of(log: FeatureLog, batch: dict[str, Array]) -> list[FeatureColumn]:
    table = log.features(batch)
    assert isinstance(table, FeatureTable)
    return cut_columns(table)


class TestPredictionReader:
    def test_reads_labels_as_text_and_both_probabilities(self) -> None:
        outcome = PredictionReader(BINARY).read(
            [np.array([1, 0]), np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)]
        )

        assert outcome.prediction == ["1", "0"]
        assert floats(outcome.probabilities) == [0.25, 0.75, 0.5, 0.5]

    def test_reads_labels_that_are_whole_floats_as_classes(self) -> None:
        outcome = PredictionReader(BINARY).read([np.array([1.0, 0.0]), np.zeros((2, 2), np.float32)])

        assert outcome.prediction == ["1", "0"]

    @pytest.mark.parametrize("shape", [(2,), (2, 1)])
    def test_completes_a_lone_probability(self, shape: tuple[int, ...]) -> None:
        scores = np.array([0.75, 0.25], np.float32).reshape(shape)

        outcome = PredictionReader(BINARY).read([np.array([1, 0]), scores])

        assert floats(outcome.probabilities) == [0.25, 0.75, 0.75, 0.25]

    def test_takes_the_likeliest_class_where_no_label_is_given(self) -> None:
        signature = msgspec.structs.replace(BINARY, prediction_output=None, classes=["no", "yes"])

        outcome = PredictionReader(signature).read(
            [np.array([1, 0]), np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)]
        )

        assert outcome.prediction == ["yes", "no"]

    def test_reads_a_regression_as_float64(self) -> None:
        outcome = PredictionReader(summing_signature(2)).read([np.array([[1.5], [2.5]], np.float32)])

        assert np.frombuffer(outcome.prediction, "<f8").tolist() == [1.5, 2.5]  # type: ignore[arg-type]
        assert outcome.probabilities is None


class TestFeatureLog:
    def test_names_the_columns_of_a_table(self) -> None:
        columns = columns_of(FeatureLog(BINARY), {"X": np.array([[1, 2], [3, 4]], np.float32)})

        assert [(column.name, column.kind, floats(column.data)) for column in columns] == [  # type: ignore[arg-type]
            ("f0", "f4", [1, 3]),
            ("f1", "f4", [2, 4]),
        ]

    def test_keeps_each_features_own_type(self) -> None:
        signature = Signature(
            features=[
                Feature("a", "float"),
                Feature("b", "int"),
                Feature("c", "bool"),
                Feature("d", "string"),
            ],
            inputs=[
                TensorSpec("a", "FP64", [-1, 1]),
                TensorSpec("b", "INT32", [-1, 1]),
                TensorSpec("c", "BOOL", [-1, 1]),
                TensorSpec("d", "BYTES", [-1, 1]),
            ],
            outputs=[TensorSpec("y", "FP32", [-1, 1])],
            prediction_output="y",
            probabilities_output=None,
            classes=[],
            positive_class=None,
            missing={"d": "?"},
            task="regression",
        )
        batch = {
            "a": np.array([[0.5]]),
            "b": np.array([[-1]], np.int32),
            "c": np.array([[True]]),
            "d": np.array([["?"]], object),
        }

        assert FeatureLog(signature).features(batch) == [
            FeatureColumn("a", "f8", np.array([0.5]).tobytes()),
            FeatureColumn("b", "i8", np.array([-1]).tobytes()),
            FeatureColumn("c", "i8", np.array([1]).tobytes()),
            FeatureColumn("d", "s", [None]),
        ]

    def test_keeps_whole_numbers_above_those_of_the_log_as_floats(self) -> None:
        spec = TensorSpec("X", "UINT64", [-1, 2])
        log = FeatureLog(msgspec.structs.replace(BINARY, inputs=[spec]))

        large, small = (
            columns_of(log, {"X": np.array([[7, top]], np.uint64)}) for top in (2**64 - 1, 2**63 - 1)
        )

        assert [np.frombuffer(column.data, "<f8").tolist() for column in large] == [[7.0], [2.0**64]]
        assert [column.kind for column in small] == ["i8", "i8"]
        assert np.frombuffer(small[1].data, "<i8").tolist() == [2**63 - 1]

    def test_has_no_columns_for_images(self) -> None:
        signature = msgspec.structs.replace(BINARY, inputs=[TensorSpec("X", "FP32", [-1, 3, 8, 8])])

        assert FeatureLog(signature).features({"X": np.zeros((1, 3, 8, 8), np.float32)}) == []


class TestLoadedVersion:
    def load(self, home: Path, signature: Signature) -> LoadedVersion:
        version = store(home, constant_classifier(0.5, 2), signature, id=1, version="1")
        return LoadedVersion(home, PlanModel(1, 1, "m", 1, "1", [], [version]), version)

    def test_refuses_classes_that_do_not_match_the_probabilities(self, tmp_path: Path) -> None:
        with pytest.raises(ModelRefused, match="2 columns and the signature names 3 classes"):
            self.load(tmp_path, msgspec.structs.replace(BINARY, classes=["a", "b", "c"]))

    def test_refuses_tensors_that_the_model_does_not_have(self, tmp_path: Path) -> None:
        with pytest.raises(ModelRefused, match="no tensor 'Z'"):
            self.load(tmp_path, msgspec.structs.replace(BINARY, inputs=[TensorSpec("Z", "FP32", [-1, 2])]))


class TestEmbedding:
    @pytest.fixture
    def version(self, tmp_path: Path) -> LoadedVersion:
        signature = msgspec.structs.replace(BINARY, embedding_output="probabilities")
        stored = store(tmp_path, constant_classifier(0.5, 2), signature, id=1, version="1")
        return LoadedVersion(tmp_path, PlanModel(1, 1, "m", 1, "1", [], [stored]), stored)

    def test_is_logged_beside_the_features(self, version: LoadedVersion) -> None:
        batch = {"X": np.array([[1, 2], [3, 4]], np.float32)}

        columns = version.features(batch, version.run(batch).outputs)

        assert [(column.name, column.kind) for column in columns] == [  # type: ignore[union-attr]
            ("f0", "f4"),
            ("f1", "f4"),
            ("probabilities", "v4"),
        ]
        assert floats(columns[2].data) == [0.5, 0.5, 0.5, 0.5]  # type: ignore[index]

    @pytest.mark.parametrize("policy", ["hash", "drop"])
    def test_is_not_logged_where_it_may_not_be_kept(self, version: LoadedVersion, policy: str) -> None:
        version.privacy = Privacy(1, {"probabilities": policy}, b"key")
        batch = {"X": np.array([[1, 2]], np.float32)}

        columns = version.features(batch, version.run(batch).outputs)

        assert [column.name for column in columns] == ["f0", "f1"]  # type: ignore[union-attr]

    @pytest.mark.parametrize("shape", [(1, 2), (2,), (2, 1), (2, 2, 2), (2, 5_000)])
    def test_of_another_shape_than_a_vector_a_row_is_left_out(
        self, version: LoadedVersion, shape: tuple[int, ...]
    ) -> None:
        """As another server may answer."""
        batch = {"X": np.array([[1, 2], [3, 4]], np.float32)}

        columns = version.features(batch, [np.array([0, 1]), np.zeros(shape, np.float32)])

        assert isinstance(columns, FeatureTable)


class TestImages:
    @pytest.fixture
    def version(self, tmp_path: Path) -> LoadedVersion:
        signature = msgspec.structs.replace(embedding_signature(), image=ImageSpec("NCHW", 0, 2))
        stored = store(tmp_path, embedding_model(), signature, id=1, version="1")
        return LoadedVersion(tmp_path, PlanModel(1, 1, "m", 1, "1", [], [stored]), stored)

    def test_are_logged_as_what_is_measured_of_them_beside_their_embedding(
        self, version: LoadedVersion
    ) -> None:
        batch = {"X": np.stack([np.ones((3, 4, 4)), np.full((3, 4, 4), np.nan)]).astype(np.float32)}

        columns = version.features(batch, version.run(batch).outputs)

        assert not isinstance(columns, FeatureTable)
        assert [(column.name, column.kind) for column in columns] == [
            ("X.brightness", "f8"), ("X.contrast", "f8"), ("X.sharpness", "f8"), ("embedding", "v4"),
        ]  # fmt: skip
        numbers = [np.frombuffer(column.data, "<f8").tolist() for column in columns[:3]]  # type: ignore[arg-type]
        assert numbers == [
            [0.5, pytest.approx(np.nan, nan_ok=True)],
            *[[0.0, pytest.approx(np.nan, nan_ok=True)]] * 2,
        ]

    def test_are_kept_as_the_privacy_of_their_numbers_says(self, version: LoadedVersion) -> None:
        version.privacy = Privacy(1, {"X.sharpness": "drop"}, b"key")
        batch = {"X": np.ones((1, 3, 4, 4), np.float32)}

        columns = version.features(batch)

        assert [column.name for column in columns] == ["X.brightness", "X.contrast"]  # type: ignore[union-attr]

    def test_have_thumbnails_of_the_share_of_rows_that_the_model_keeps(self, version: LoadedVersion) -> None:
        ids = [f"row-{place}" for place in range(200)]
        batch = {"X": np.ones((200, 3, 4, 4), np.float32)}
        batch["X"][7] = np.nan

        without = version.thumbnails(batch, ids)
        version.thumbnail_share = 0.25
        some, again = (version.thumbnails(batch, ids) for _ in range(2))
        version.thumbnail_share = 1.0
        every = version.thumbnails(batch, ids)

        assert without is None
        assert some == again
        assert some is not None
        assert 30 < 200 - some.count(None) < 70
        assert every is not None
        assert [place for place, one in enumerate(every) if one is None] == [7]

    @pytest.mark.parametrize("feature", ["X", "X.brightness", "X.contrast", "X.sharpness"])
    @pytest.mark.parametrize("policy", ["hash", "drop", "summary"])
    def test_have_no_thumbnails_where_the_image_or_a_number_of_it_may_not_be_kept(
        self, version: LoadedVersion, policy: str, feature: str
    ) -> None:
        version.thumbnail_share = 1.0
        version.privacy = Privacy(1, {feature: policy}, b"key")

        assert version.thumbnails({"X": np.ones((1, 3, 4, 4), np.float32)}, ["a"]) is None

    def test_that_are_not_declared_have_no_thumbnails(self, tmp_path: Path) -> None:
        stored = store(tmp_path, embedding_model(), embedding_signature(), id=2, version="2")
        plain = LoadedVersion(tmp_path, PlanModel(1, 1, "m", 1, "1", [], [stored]), stored)
        plain.thumbnail_share = 1.0

        assert plain.thumbnails({"X": np.ones((1, 3, 4, 4), np.float32)}, ["a"]) is None

    def test_count_for_what_logging_a_batch_takes(self, version: LoadedVersion, tmp_path: Path) -> None:
        batch = {"X": np.ones((2, 3, 4, 4), np.float32)}
        stored = store(tmp_path, embedding_model(), embedding_signature(), id=2, version="2")
        plain = LoadedVersion(tmp_path, PlanModel(1, 1, "m", 1, "1", [], [stored]), stored)

        assert (version.measured_values(batch), plain.measured_values(batch)) == (96, 0)

    def test_count_for_it_also_by_the_thumbnails_that_are_drawn(self, version: LoadedVersion) -> None:
        batch = {"X": np.ones((120, 3, 4, 4), np.float32)}
        version.thumbnail_share = 0.5

        drawing = version.measured_values(batch)
        version.privacy = Privacy(1, {"X": "drop"}, b"key")

        assert drawing == 120 * 48 + 60 * 3_000 > MAX_LOOP_VALUES
        assert version.measured_values(batch) == 120 * 48 < MAX_LOOP_VALUES
