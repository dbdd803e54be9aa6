"""What the optimiser finds for a perceptron, a small convolutional net and a forest.

`python -m tests.performance.optimiser_table`

Trains each on scikit-learn's digits, 1,797 real pictures of 8 x 8 (no download), lets the optimiser try every kind of
variant as it does in a worker, in the sandboxed child, and prints the table: a third of the pictures is held out to
compare on, a part of the others is what static ranges are calibrated on. Takes about two minutes.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from inference.registry.trials import NotBuilt, Questions, Unfit, try_variant
from inference.registry.trials.orders import pack
from inference.runtime.session import OnnxSession
from inference.runtime.variants.kinds import KINDS
from inference.signatures import Feature, Signature, TensorSpec
from monitors.optimiser.comparing import Measured, compare, judged_outputs
from monitors.optimiser.evaluation_set import MAX_CALIBRATION_ROWS, EvaluationSet
from monitors.optimiser.judging import VariantBudget, judge
from monitors.optimiser.machine import machine

type Floats = NDArray[np.float32]
CLASSES = [str(digit) for digit in range(10)]
SIDE = 8


@dataclass(frozen=True)
class Subject:
    """A trained model and the shape in which it takes pictures."""

    name: str
    content: bytes
    shape: tuple[int, ...]

    def rows(self, pictures: Floats, y: NDArray[np.int64]) -> EvaluationSet:
        feed = {"X": pictures.reshape(-1, *self.shape)}
        return EvaluationSet(feed, y.astype(np.float64), np.zeros(len(y), np.int64), "held-out pictures")

    @property
    def signature(self) -> Signature:
        return Signature(
            features=[Feature("X", "float")],
            inputs=[TensorSpec("X", "FP32", [-1, *self.shape])],
            outputs=[TensorSpec("label", "INT64", [-1]), TensorSpec("probabilities", "FP32", [-1, 10])],
            prediction_output="label",
            probabilities_output="probabilities",
            classes=CLASSES,
            positive_class=None,
            missing={},
            task="multiclass",
        )


@dataclass(frozen=True)
class Line:
    """One row of the table; `measured` and `size` are None where nothing could be measured."""

    subject: str
    kind: str
    status: str
    reason: str
    original_size: int
    size: int | None = None
    measured: Measured | None = None


# -- the models --------------------------------------------------------------------------------------------------------
def perceptron(pictures: Floats, y: NDArray[np.int64]) -> Subject:
    """Two hidden layers of 512 and 256."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = MLPClassifier((512, 256), max_iter=30, random_state=0).fit(pictures, y)
    return Subject("perceptron 64-512-256-10", _converted(fitted, pictures), (SIDE * SIDE,))


def forest(pictures: Floats, y: NDArray[np.int64], trees: int = 200) -> Subject:
    """Trees that are averaged."""
    fitted = RandomForestClassifier(trees, random_state=0).fit(pictures, y)
    return Subject(f"forest of {trees} trees", _converted(fitted, pictures), (SIDE * SIDE,))


def _converted(fitted: Any, pictures: Floats) -> bytes:
    content: bytes = to_onnx(fitted, pictures[:1], options={"zipmap": False}).SerializeToString()
    return content


def convolutions(pictures: Floats, y: NDArray[np.int64]) -> Subject:
    """Two layers of filters of chance (32 and 64), and a dense head that is trained on what they see."""
    chance = np.random.default_rng(0)
    filters = {
        name: (chance.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        for name, shape in {"w1": (32, 1, 3, 3), "w2": (64, 32, 3, 3)}.items()
    }
    seen = OnnxSession(_network(filters, head=False)).run(
        {"X": pictures.reshape(-1, 1, SIDE, SIDE)}, ["flat"]
    )[0]
    head = LogisticRegression(max_iter=300).fit(seen, y)
    weights = {**filters, "w3": head.coef_.T.astype(np.float32), "b3": head.intercept_.astype(np.float32)}
    return Subject("convolutions 32-64-10", _network(weights, head=True), (1, SIDE, SIDE))


def _network(weights: dict[str, Floats], *, head: bool) -> bytes:
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["X", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], **pool),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("MaxPool", ["r2"], ["p2"], **pool),
        helper.make_node("Flatten", ["p2"], ["flat"]),
    ]
    outputs = [helper.make_tensor_value_info("flat", TensorProto.FLOAT, [None, 256])]
    if head:
        nodes += [
            helper.make_node("Gemm", ["flat", "w3", "b3"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
        ]
        outputs = [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 10]),
        ]
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 1, SIDE, SIDE])],
        outputs,
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    content: bytes = made.SerializeToString()
    return content


MAKERS: tuple[Callable[[Floats, NDArray[np.int64]], Subject], ...] = (perceptron, convolutions, forest)


# -- the table ---------------------------------------------------------------------------------------------------------
def digits() -> tuple[tuple[Floats, NDArray[np.int64]], tuple[Floats, NDArray[np.int64]]]:
    """Give the pictures (values from 0 to 1) to learn from, and a third that is held out."""
    found = load_digits()
    pictures, y = (found.data / 16).astype(np.float32), found.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(y))
    cut = len(y) * 2 // 3
    learnt, held_out = order[:cut], order[cut:]
    return (pictures[learnt], y[learnt]), (pictures[held_out], y[held_out])


def optimise(
    subject: Subject, calibration: EvaluationSet, asked: EvaluationSet, kinds: Iterable[str] = KINDS
) -> list[Line]:
    """Try the kinds of variants of one model."""
    questions = Questions(_packed(calibration), _packed(asked), is_made_up=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(subject.content)
        return [_line(subject, kind, path, questions, asked) for kind in kinds]


def _packed(rows: EvaluationSet) -> dict[str, Any]:
    return {name: pack(values) for name, values in rows.feed.items()}


def _line(subject: Subject, kind: str, path: Path, questions: Questions, asked: EvaluationSet) -> Line:
    outcome, original_size = (
        try_variant(path, kind, questions, judged_outputs(subject.signature)),
        len(subject.content),
    )
    if isinstance(outcome, NotBuilt | Unfit):
        status = "does not apply" if isinstance(outcome, NotBuilt) else "refused"
        return Line(subject.name, kind, status, outcome.reason, original_size)
    measured = compare(outcome, asked, subject.signature)
    size = len(outcome.content)
    verdict = judge(measured, VariantBudget(), size=size, original_size=original_size)
    return Line(subject.name, kind, verdict.status, verdict.reason, original_size, size, measured)


def written(line: Line) -> str:
    """Write one row for the terminal."""
    head = f"{KINDS[line.kind]:34} {line.status:14}"
    if line.measured is None or line.size is None:
        return f"{head} {line.reason}"
    accuracy, one, batch = line.measured.quality["accuracy"], *line.measured.timings
    figures = (
        f"{accuracy.challenger:.4f} {line.measured.agreement:8.2%} {one.variant_us[1]:8.1f} {one.ratio:6.2f} "
        f"{batch.variant_us[1]:9.1f} {batch.ratio:6.2f} {line.size / 1024:9.1f} {line.size / line.original_size:5.0%}"
    )
    return f"{head} {figures}\n    {line.reason}"


def print_table(lines: list[Line]) -> None:
    first = next(line for line in lines if line.measured is not None and line.size is not None)
    assert first.measured is not None
    accuracy, (one, batch) = first.measured.quality["accuracy"], first.measured.timings
    print(f"\n{first.subject}: {first.measured.rows} held-out pictures")
    print(
        f"{'variant':34} {'verdict':14} accur.    agree   1 row,    x-fold  64 rows, x-fold       KiB share"
    )
    print(
        f"{'the original':34} {'':14} {accuracy.champion:.4f} {'':8} {one.original_us[1]:8.1f} {'':6} "
        f"{batch.original_us[1]:9.1f} {'':6} {first.original_size / 1024:9.1f}"
    )
    for line in lines:
        print(written(line))


def main() -> None:
    learnt, held_out = digits()
    print(
        f"{machine()}; latencies are medians in µs, x-fold is the median of variant / original, turn by turn"
    )
    for make in MAKERS:
        subject = make(*learnt)
        calibration = subject.rows(*(values[:MAX_CALIBRATION_ROWS] for values in learnt))
        print_table(optimise(subject, calibration, subject.rows(*held_out)))


if __name__ == "__main__":
    main()
