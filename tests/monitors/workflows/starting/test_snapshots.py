import numpy as np
import pyarrow as pa
import pytest

from driftline.base.periods import DAY_US
from inference.prediction_log.queries.frames import LogFrame
from inference.signatures import Feature, Signature
from monitors.definitions.outcomes import coded
from monitors.workflows.starting.snapshots import (
    from_log,
    from_reference,
    holdout_start,
    keep_known_labels,
    times_us,
)


def signature(task: str, classes: list[str]) -> Signature:
    return Signature(
        features=[Feature("wind", "float"), Feature("carrier", "string")],
        inputs=[],
        outputs=[],
        prediction_output=None,
        probabilities_output=None,
        classes=classes,
        positive_class=classes[0] if task == "binary" else None,
        missing={},
        task=task,
    )


def texts(*values: str | None) -> np.ndarray:
    return np.array(values, object)


def frame(*, label: np.ndarray, prediction: np.ndarray, probability: np.ndarray | None) -> LogFrame:
    rows = len(label)
    return LogFrame(
        ids=texts(*map(str, range(rows))),
        times_us=np.arange(rows) * DAY_US,
        version_ids=np.full(rows, 7),
        latency_us=np.full(rows, np.nan),
        features={"wind": np.array([1.5, np.nan])},
        prediction=prediction,
        probability=probability,
        label=label,
        label_time_us=np.ones(rows, np.int64),
    )


class TestFromLog:
    def test_writes_missing_values_and_absent_features_as_null(self) -> None:
        table = from_log(
            frame(label=texts("a", "b"), prediction=texts("a", "a"), probability=np.array([0.9, 0.8])),
            signature("binary", ["a", "b"]),
        )

        assert table["wind"].to_pylist() == [1.5, None]
        assert table["carrier"].to_pylist() == [None, None]
        assert table["score"].to_pylist() == [0.9, 0.8]

    def test_keeps_each_class_probability_of_many_classes(self) -> None:
        table = from_log(
            frame(label=texts("a", "b"), prediction=texts("a", "a"), probability=np.eye(3)[:2]),
            signature("multiclass", ["a", "b", "c"]),
        )

        assert table["score"].to_pylist() == [[1, 0, 0], [0, 1, 0]]

    def test_reads_numbers_for_regression(self) -> None:
        table = from_log(
            frame(label=texts("2.5", "3"), prediction=np.array([2.0, 4.0]), probability=None),
            signature("regression", []),
        )

        assert table["label"].to_pylist() == [2.5, 3.0]
        assert table["score"].to_pylist() == [2.0, 4.0]

    def test_joins_a_reference_with_other_columns(self) -> None:
        logged = from_log(
            frame(label=texts("a", "b"), prediction=texts("a", "a"), probability=None),
            signature("binary", ["a", "b"]),
        )
        reference = pa.table(
            {"carrier": ["AA", None], "wind": [1, 2], "id": ["x", "y"], "label": ["a", None]}
        )

        rows = from_reference(reference, signature("binary", ["a", "b"]), end_us=5 * DAY_US)

        assert pa.concat_tables([rows, logged]).num_rows == 3
        assert times_us(rows).tolist() == [4 * DAY_US]


class TestKeepKnownLabels:
    def test_leaves_out_labels_that_are_no_class_and_tells_how_many(self) -> None:
        table = from_log(
            frame(label=texts("a", "z"), prediction=texts("a", "a"), probability=None),
            signature("binary", ["a", "b"]),
        )

        kept, unknown = keep_known_labels(table, signature("binary", ["a", "b"]))

        assert (kept["label"].to_pylist(), unknown) == (["a"], 1)


class TestHoldoutStart:
    def test_holds_the_three_newest_days_out(self) -> None:
        times = np.repeat(np.arange(30), 10) * DAY_US + 5

        assert holdout_start(times) == 27 * DAY_US

    def test_holds_fewer_days_out_where_three_are_more_than_a_fifth(self) -> None:
        times = np.repeat(np.arange(7), 10) * DAY_US + 5

        assert holdout_start(times) == 6 * DAY_US

    def test_holds_the_newest_fifth_out_where_a_day_is_more_than_that(self) -> None:
        times = np.arange(100)

        assert (times >= holdout_start(times)).mean() == pytest.approx(0.2, abs=0.01)

    def test_never_holds_every_row_out(self) -> None:
        assert holdout_start(np.array([3, 9])) == 9


class TestCoded:
    def test_writes_the_positive_class_as_one_and_unknown_as_nan(self) -> None:
        codes = coded(texts("late", "on_time", None, "lost"), signature("binary", ["late", "on_time"]))

        np.testing.assert_array_equal(codes, [1, 0, np.nan, np.nan])

    def test_writes_classes_as_positions_and_numbers_as_they_are(self) -> None:
        many = coded(texts("c", "a"), signature("multiclass", ["a", "b", "c"]))

        assert many.tolist() == [2, 0]
        assert coded(texts("2.5"), signature("regression", [])).tolist() == [2.5]
