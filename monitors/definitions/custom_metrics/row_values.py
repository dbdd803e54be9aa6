"""What custom metrics come to row by row: reads the columns of the log as the language of expressions wants them."""

from collections.abc import Mapping

import numpy as np

from inference.prediction_log.items import as_objects
from inference.prediction_log.queries.frames import LogFrame, Values, as_kind
from inference.signatures import Signature
from monitors.definitions.outcomes import answer_score
from monitors.stats.expressions.evaluation import MetricValues, Vocabulary, evaluate
from monitors.stats.expressions.tree import Aggregate, ColumnName, ColumnSource, Floats, ValueKind

type FeatureKinds = Mapping[str, str]
"""Number or text, by the features that metrics read."""


def row_values(
    metrics: Mapping[str, Aggregate], kinds: FeatureKinds, rows: LogFrame, signature: Signature
) -> MetricValues:
    """Compute metrics for each of some rows; a feature that the rows do not have is missing in all of them."""
    return evaluate(metrics, len(rows), _LoggedColumns(rows, kinds, signature), rows.is_labelled)


class _LoggedColumns:
    """Reads columns of logged rows; predictions and labels, which several columns are made of, only once."""

    def __init__(self, rows: LogFrame, kinds: FeatureKinds, signature: Signature) -> None:
        self._rows = rows
        self._kinds = kinds
        self._signature = signature
        self._answers: dict[ColumnSource, Floats] = {}

    def __call__(self, column: ColumnName, vocabulary: Vocabulary) -> Floats:
        rows = self._rows
        match column.source:
            case ColumnSource.FEATURE:
                return self._feature(column.name, vocabulary)
            case ColumnSource.TAG:
                return _as_texts(_texts(rows.tag(column.name)), vocabulary)
            case ColumnSource.PROBABILITY:
                score = answer_score(self._signature, rows.prediction, rows.probability)
                return np.full(len(rows), np.nan) if score is None else score.astype(np.float64)
            case ColumnSource.LATENCY:
                return rows.latency_us / 1e3
            case ColumnSource.PREDICTED_POSITIVE:
                return self._is_positive(ColumnSource.PREDICTION, vocabulary)
            case ColumnSource.LABEL_POSITIVE:
                return self._is_positive(ColumnSource.LABEL, vocabulary)
            case ColumnSource.PREDICTION | ColumnSource.LABEL:
                return self._answer(column.source, vocabulary)

    def _feature(self, name: str, vocabulary: Vocabulary) -> Floats:
        values = self._rows.features.get(name)
        if values is None:
            return np.full(len(self._rows), np.nan)
        if self._kinds.get(name, ValueKind.NUMBER) == ValueKind.NUMBER:
            return np.asarray(as_kind(values, is_number=True), np.float64)
        return _as_texts(values, vocabulary)

    def _answer(self, source: ColumnSource, vocabulary: Vocabulary) -> Floats:
        """Read predictions or labels: classes as texts, anything else as numbers."""
        if source not in self._answers:
            values = self._rows.label if source == ColumnSource.LABEL else self._rows.prediction
            if self._signature.task in ("binary", "multiclass"):
                self._answers[source] = _as_texts(values, vocabulary)
            else:
                numbers = [np.nan if value is None else float(value) for value in values]
                self._answers[source] = np.array(numbers, np.float64)
        return self._answers[source]

    def _is_positive(self, source: ColumnSource, vocabulary: Vocabulary) -> Floats:
        answers = self._answer(source, vocabulary)
        positive = vocabulary.number(self._signature.positive_class)
        return np.where(np.isnan(answers), np.nan, answers == positive)


def _as_texts(values: Values, vocabulary: Vocabulary) -> Floats:
    """Number texts; a column of numbers has none."""
    return vocabulary.numbers(values) if values.dtype == object else np.full(len(values), np.nan)


def _texts(values: Values) -> Values:
    """Keep texts; None stands for anything else, such as a list among tags."""
    return as_objects([value if isinstance(value, str) else None for value in values])
