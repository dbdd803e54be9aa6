"""Which labelled rows and which probabilities a report on performance gets, and what it says of the others."""

import numpy as np
import pytest

from monitors.reports.answers import classification_columns, regression_columns
from monitors.reports.columns import NoReport
from monitors.reports.rows import ReportRows

CLASSES = ["early", "late"]


def texts(*values: str | None) -> np.ndarray:
    return np.array(values, object)


def classified(
    label: np.ndarray, prediction: np.ndarray, probability: list[float] | None = None
) -> ReportRows:
    given = None if probability is None else np.array(probability)
    return ReportRows(len(label), {}, prediction=prediction, probability=given, label=label)


class TestClassification:
    answers = texts("early", "late", "late", "early")
    labels = texts("early", "late", "early", None)

    def test_takes_the_threshold_that_the_answers_follow_from(self) -> None:
        side = classified(self.labels, self.answers, [0.1, 0.31, 0.9, 0.2])

        columns = classification_columns(side, None, classes=CLASSES, positive="late")

        assert columns.threshold == 0.31
        assert columns.probabilities == ["probability"]
        assert columns.current["probability"].tolist() == [0.1, 0.31, 0.9]
        assert columns.left_out == ["1 of the window's rows: no label beside the answer"]

    def test_leaves_probabilities_alone_that_lead_to_other_answers(self) -> None:
        side = classified(self.labels, self.answers, [0.5, 0.3, 0.9, 0.2])

        columns = classification_columns(side, None, classes=CLASSES, positive="late")

        assert "probability" not in columns.current
        assert "do not follow from them by one threshold" in columns.left_out[-1]

    @pytest.mark.parametrize(
        ("labels", "why"),
        [
            (texts(None, None, None, None), "None of the 4 rows of this window has a label"),
            (texts("late", "late", None, "late"), "All labels of the window are of one class"),
            (texts("7", "8", "7", "8"), "No label of the window is a class of the model (early, late)"),
        ],
    )
    def test_says_why_there_is_nothing_to_score(self, labels: np.ndarray, why: str) -> None:
        with pytest.raises(NoReport, match=r".") as refusal:
            classification_columns(classified(labels, self.answers), None, classes=CLASSES, positive="late")

        assert str(refusal.value).startswith(why)

    def test_leaves_out_labels_that_name_no_class_and_tells_how_many(self) -> None:
        side = classified(texts("early", "late", "lost", "early"), self.answers)

        columns = classification_columns(side, None, classes=CLASSES, positive="late")

        assert columns.current["label"].tolist() == ["early", "late", "early"]
        assert columns.left_out == ["1 of the window's rows: the label is no class of the model"]

    def test_lets_the_window_stand_alone_beside_a_reference_without_labels(self) -> None:
        window = classified(texts("early", "late", "late", "early"), self.answers)
        reference = ReportRows(2, {"a": np.zeros(2)})

        columns = classification_columns(window, reference, classes=CLASSES, positive="late")

        assert columns.reference is None
        assert columns.left_out[-1] == "the reference: without any, the window stands alone"

    def test_wants_each_class_of_several_to_have_a_label_before_it_scores_probabilities(self) -> None:
        table = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]])
        side = ReportRows(2, {}, prediction=texts("a", "b"), probability=table, label=texts("b", "a"))

        columns = classification_columns(side, None, classes=["a", "b", "c"], positive=None)

        assert columns.probabilities == []
        assert columns.left_out == ["probabilities: some class has no label, so the answers alone are scored"]


class TestRegression:
    def test_leaves_out_what_is_no_finite_number(self) -> None:
        side = ReportRows(
            4, {}, prediction=np.array([1.0, 2.0, 3.0, 4.0]), label=texts("1.5", "soon", "inf", "1e308")
        )

        columns = regression_columns(side, None)

        assert columns.current["label"].tolist() == [1.5]
        assert columns.left_out == ["3 of the window's rows: the label or the answer is no finite number"]

    def test_says_what_to_send_where_no_label_is_a_number(self) -> None:
        side = ReportRows(1, {}, prediction=np.array([1.0]), label=texts("soon"))

        with pytest.raises(NoReport, match="send labels as numbers"):
            regression_columns(side, None)
