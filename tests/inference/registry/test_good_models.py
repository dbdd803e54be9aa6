"""Models as people's converters write them, and the signatures that they get."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from onnx import TensorProto
from onnx.helper import make_node, make_tensor
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from inference.registry.intake import IntakeReport, parse_metadata
from inference.signatures import Feature, TensorSpec
from tests.inference.registry.onnx_files import inspect, model, refusal, summing_model, tensor

pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(3).normal(size=(120, 4)).astype(np.float32)
LATE = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)


def _onnx(estimator: Any, rows: Any = ROWS[:1], **options: Any) -> bytes:
    return to_onnx(estimator, rows, options=options or {"zipmap": False}, target_opset=17).SerializeToString()


def _pipeline(unknown: str = "ignore") -> bytes:
    """One input a feature: two floats, a whole number and a string."""
    frame = pd.DataFrame({"delay": ROWS[:, 0], "wind": ROWS[:, 1], "hour": LATE * 3, "carrier": LATE})
    frame["carrier"] = frame["carrier"].map({0: "AA", 1: "UA"}).astype(object)
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = ColumnTransformer(
        [
            ("numbers", numbers, ["delay", "wind"]),
            ("hour", "passthrough", ["hour"]),
            ("carrier", OneHotEncoder(handle_unknown=unknown, sparse_output=False), ["carrier"]),
        ]
    )
    pipeline = make_pipeline(columns, LogisticRegression()).fit(frame, LATE)
    inputs = [
        ("delay", FloatTensorType([None, 1])),
        ("wind", FloatTensorType([None, 1])),
        ("hour", Int64TensorType([None, 1])),
        ("carrier", StringTensorType([None, 1])),
    ]
    return convert_sklearn(
        pipeline, initial_types=inputs, options={"zipmap": False}, target_opset=17
    ).SerializeToString()


@pytest.fixture(scope="module")
def pipeline_report(tmp_path_factory: pytest.TempPathFactory) -> IntakeReport:
    metadata = parse_metadata(b'{"missing": {"carrier": "unknown"}, "positive_class": 1}')
    return inspect(tmp_path_factory.mktemp("pipeline"), _pipeline(), metadata, task="binary")


class TestAPipelineWithOneInputAFeature:
    def test_its_inputs_are_its_features(self, pipeline_report: IntakeReport) -> None:
        signature = pipeline_report.signature

        assert signature.features == [
            Feature("delay", "float"),
            Feature("wind", "float"),
            Feature("hour", "int"),
            Feature("carrier", "string"),
        ]
        assert [spec.datatype for spec in signature.inputs] == ["FP32", "FP32", "INT64", "BYTES"]
        assert all(spec.shape == [-1, 1] for spec in signature.inputs)
        assert signature.missing == {"carrier": "unknown"}

    def test_the_converters_names_and_classes_are_found(self, pipeline_report: IntakeReport) -> None:
        signature = pipeline_report.signature

        assert signature.prediction_output == "label"
        assert signature.probabilities_output == "probabilities"
        assert (signature.classes, signature.positive_class) == (["0", "1"], "1")

    def test_it_ran_on_known_missing_and_unseen_rows(self, pipeline_report: IntakeReport) -> None:
        runs = {(run.rows, run.fill) for run in pipeline_report.dry_runs if run.error is None}

        assert runs == {(rows, fill) for rows in (1, 3) for fill in ("typical", "missing", "unseen")}
        assert pipeline_report.warnings == []

    def test_an_encoder_that_fails_on_unseen_categories_is_warned_of(self, tmp_path: Path) -> None:
        report = inspect(tmp_path, _pipeline(unknown="error"), task="binary")

        assert [run.error for run in report.dry_runs if run.fill == "typical"] == [None, None]
        assert any("unseen categories" in warning for warning in report.warnings)


class TestATreeEnsembleOnOneTensor:
    def test_its_columns_get_the_names_of_the_metadata(self, tmp_path: Path) -> None:
        forest = RandomForestClassifier(5, random_state=0).fit(ROWS, np.where(LATE, "late", "on time"))
        metadata = parse_metadata(
            b'{"features": [{"name": "a"}, {"name": "b", "type": "int"}, {"name": "c"}, {"name": "d"}]}'
        )

        report = inspect(tmp_path, _onnx(forest), metadata, task="binary")

        signature = report.signature
        assert [(feature.name, feature.type) for feature in signature.features] == [
            ("a", "float"),
            ("b", "int"),
            ("c", "float"),
            ("d", "float"),
        ]
        assert signature.inputs == [TensorSpec("X", "FP32", [-1, 4])]
        assert (signature.classes, signature.positive_class) == (["late", "on time"], "on time")
        assert report.ops["TreeEnsembleClassifier"] == 1
        assert report.producer.startswith("skl2onnx")

    def test_too_few_names_are_refused(self, tmp_path: Path) -> None:
        forest = RandomForestClassifier(2, random_state=0).fit(ROWS, LATE)
        metadata = parse_metadata(b'{"features": [{"name": "a"}, {"name": "b"}]}')

        refused = refusal(tmp_path, _onnx(forest), metadata, task="binary")

        assert (refused.code, refused.status) == ("incompatible_signature", 422)
        assert refused.pointer == "/features"
        assert "4 columns" in refused.detail

    def test_a_map_output_is_refused_with_the_fix(self, tmp_path: Path) -> None:
        forest = RandomForestClassifier(2, random_state=0).fit(ROWS, LATE)

        refused = refusal(tmp_path, _onnx(forest, zipmap=True), task="binary")

        assert refused.code == "unsupported_output"
        assert "zipmap=False" in refused.detail


class TestOtherModels:
    def test_a_network_of_three_classes_gets_them_from_the_graph(self, tmp_path: Path) -> None:
        labels = np.array(["low", "middle", "top"])[np.digitize(ROWS[:, 0], [-0.5, 0.5])]
        network = MLPClassifier((4,), max_iter=300, tol=1e-2, random_state=0).fit(ROWS, labels)

        report = inspect(tmp_path, _onnx(network), task="multiclass")

        assert report.signature.classes == ["low", "middle", "top"]
        assert report.signature.positive_class is None

    def test_a_regression_needs_no_metadata(self, tmp_path: Path) -> None:
        regressor = GradientBoostingRegressor(n_estimators=3).fit(ROWS, ROWS[:, 0])

        report = inspect(tmp_path, to_onnx(regressor, ROWS[:1], target_opset=17).SerializeToString())

        assert report.signature.prediction_output == "variable"
        assert [feature.name for feature in report.signature.features] == ["f0", "f1", "f2", "f3"]
        assert any("no names" in warning for warning in report.warnings)

    def test_an_open_width_is_taken_from_the_features(self, tmp_path: Path) -> None:
        metadata = parse_metadata(b'{"features": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}')

        report = inspect(tmp_path, summing_model(columns=None), metadata)

        assert report.signature.inputs == [TensorSpec("x", "FP32", [-1, 3])]

    def test_probabilities_alone_need_named_classes(self, tmp_path: Path) -> None:
        softmax = model([make_node("Softmax", ["x"], ["y"])], outputs=[tensor("y", [None, 2])])

        refused = refusal(tmp_path, softmax.SerializeToString(), task="binary")
        report = inspect(
            tmp_path,
            softmax.SerializeToString(),
            parse_metadata(b'{"classes": ["no", "yes"], "positive_class": "no"}'),
            task="binary",
        )

        assert (refused.code, refused.pointer) == ("invalid_metadata", "/classes")
        assert report.signature.prediction_output is None
        assert report.signature.probabilities_output == "y"
        assert report.signature.positive_class == "no"

    def test_half_precision_and_values_that_are_not_finite_are_said(self, tmp_path: Path) -> None:
        zero = make_tensor("z", TensorProto.FLOAT16, [1, 1], [0.0])
        half = model(
            [make_node("Div", ["x", "z"], ["y"])],
            [tensor("x", [None, 1], TensorProto.FLOAT16)],
            [tensor("y", [None, 1], TensorProto.FLOAT16)],
            [zero],
        )

        report = inspect(tmp_path, half.SerializeToString())

        assert any("float16" in warning for warning in report.warnings)
        assert any("not finite" in warning for warning in report.warnings)

    def test_a_model_that_only_fails_on_missing_numbers_is_warned_of(self, tmp_path: Path) -> None:
        table = make_tensor("t", TensorProto.FLOAT, [2], [5.0, 6.0])
        lookup = model(
            [
                make_node("IsNaN", ["x"], ["n"]),
                make_node("Cast", ["n"], ["i"], to=TensorProto.INT64),
                make_node("Mul", ["i", "far"], ["place"]),
                make_node("Gather", ["t", "place"], ["y"]),
            ],
            [tensor("x", [None, 1])],
            [tensor("y", [None, 1])],
            [table, make_tensor("far", TensorProto.INT64, [1], [9])],
        )

        report = inspect(tmp_path, lookup.SerializeToString())

        assert any("missing numbers" in warning for warning in report.warnings)

    def test_says_how_long_it_took_and_how_large_the_file_is(self, tmp_path: Path) -> None:
        began = time.monotonic()

        report = inspect(tmp_path, summing_model())

        assert report.duration_ms / 1e3 <= time.monotonic() - began
        assert report.size_bytes == len(summing_model())
