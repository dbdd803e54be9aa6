"""A model that was trained elsewhere answers the held-out rows, in the champion's order of classes."""

from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression

from inference.signatures import Feature, TensorSpec
from monitors.workflows.trainers.job import Layout, TrainingJob
from monitors.workflows.trainers.launch import run_evaluation

pytestmark = pytest.mark.slow

LAYOUT = Layout(
    inputs=[TensorSpec("temp", "FP32", [-1, 1])],
    outputs=[],
    prediction="label",
    probabilities="probabilities",
)


def held_out(classes: list[str]) -> pd.DataFrame:
    """Rows of which the temperature alone says the class."""
    place = np.arange(300) % len(classes)
    return pd.DataFrame(
        {
            "temp": (10 * place + np.random.default_rng(3).normal(0, 0.5, 300)).astype(np.float32),
            "label": np.array(classes, object)[place],
            "time": pd.Timestamp("2026-01-01", tz="UTC"),
        }
    )


def train_in_order(rows: pd.DataFrame, classes: list[str]) -> bytes:
    """Train a model with its probability columns in the order of `classes`, and not in ascending order."""
    fitted = LogisticRegression(max_iter=1000).fit(rows[["temp"]].to_numpy(), rows["label"].to_numpy(str))
    inputs = [("temp", FloatTensorType([None, 1]))]
    model = to_onnx(fitted, initial_types=inputs, options={"zipmap": False})
    for node in model.graph.node:
        node.output[:] = ["sorted" if name == "probabilities" else name for name in node.output]
    order = [list(fitted.classes_).index(name) for name in classes]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(order, np.int64), "order"))
    model.graph.node.append(onnx.helper.make_node("Gather", ["sorted", "order"], ["probabilities"], axis=1))
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize("classes", [["on_time", "late"], ["on_time", "late", "cancelled"]])
def test_reads_the_columns_in_the_order_of_the_champion(classes: list[str], tmp_path: Path) -> None:
    rows = held_out(classes)
    rows.to_parquet(tmp_path / "holdout.parquet")
    (tmp_path / "artifact.onnx").write_bytes(train_in_order(rows, classes))
    positive = "late" if len(classes) == 2 else None
    job = TrainingJob(
        data=str(tmp_path / "holdout.parquet"),
        holdout=str(tmp_path / "holdout.parquet"),
        features=[Feature("temp", "float")],
        task="binary" if positive else "multiclass",
        classes=classes,
        positive_class=positive,
        layout=LAYOUT,
    )

    result = run_evaluation("remote", tmp_path / "artifact.onnx", job, tmp_path / "work", 60.0)

    reference = pd.read_parquet(result.reference_path)
    assert (reference["prediction"] == rows["label"]).all()
    assert result.metadata.classes == classes
    probability = reference["probability" if positive else "probability_late"]
    assert (probability[rows["label"] == "late"] > 0.5).all()
    assert (probability[rows["label"] != "late"] < 0.5).all()
    scores = np.load(result.holdout_scores_path)
    assert (np.array(classes)[scores.argmax(axis=1)] == rows["label"]).all()
