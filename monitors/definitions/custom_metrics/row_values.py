"""What custom metrics come to row by row: reads the columns of the log as the language of expressions wants them."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from inference.prediction_log.items import as_objects
from inference.prediction_log.queries.selectors import LogFrame, Values, as_kind
from inference.signatures import Signature
from monitors.definitions.outcomes import answer_score
from monitors.stats.expressions.evaluation import RowValues, Vocabulary, evaluate
from monitors.stats.expressions.tree import Aggregate, ColumnName, ColumnSource, Floats, ValueKind

type FeatureKinds = Mapping[str, str]
"""Number or text, by the features that metrics read."""


def row_values(
    metrics: Mapping[str, Aggregate], kinds: FeatureKinds, rows: LogFrame, signature: Signature
) -> RowValues:
    """Compute metrics for each of some rows; a feature that the rows do not have is missing in all of them."""
    read = partial(_read, rows, kinds, signature)
    return evaluate(metrics, len(rows), read, rows.is_labelled)


def _read(
    rows: LogFrame, kinds: FeatureKinds, signature: Signature, column: ColumnName, vocabulary: Vocabulary
) -> Floats:
    match column.source:
        case ColumnSource.FEATURE:
            values = rows.features.get(column.name)
            if values is None:
                return np.full(len(rows), np.nan)
            is_number = kinds.get(column.name, ValueKind.NUMBER) == ValueKind.NUMBER
            return _as_floats(as_kind(values, is_number=is_number), vocabulary)
        case ColumnSource.TAG:
            return _as_floats(rows.tag(column.name), vocabulary)
        case ColumnSource.PREDICTION:
            return _answers(rows.prediction, signature, vocabulary)
        case ColumnSource.LABEL:
            return _answers(rows.label, signature, vocabulary)
        case ColumnSource.PROBABILITY:
            score = answer_score(signature, rows.prediction, rows.probability)
            return np.full(len(rows), np.nan) if score is None else score.astype(np.float64)
        case ColumnSource.LATENCY:
            return rows.latency_us / 1e3
        case ColumnSource.PREDICTED_POSITIVE:
            return _is_positive(rows.prediction, signature)
        case ColumnSource.LABEL_POSITIVE:
            return _is_positive(rows.label, signature)


def _answers(values: Values, signature: Signature, vocabulary: Vocabulary) -> Floats:
    """Read predictions or labels: classes as texts, anything else as numbers."""
    if signature.task in ("binary", "multiclass"):
        return vocabulary.numbers(_texts(values))
    return np.array([np.nan if value is None else float(value) for value in values], np.float64)


def _is_positive(values: Values, signature: Signature) -> Floats:
    known = [value is not None and value == value for value in values]
    return np.where(known, values == signature.positive_class, np.nan)


def _as_floats(values: Values, vocabulary: Vocabulary) -> Floats:
    return vocabulary.numbers(_texts(values)) if values.dtype == object else values.astype(np.float64)


def _texts(values: Values) -> Values:
    """Keep texts; None stands for anything else, such as a number among tags."""
    if all(value is None or isinstance(value, str) for value in values):
        return values
    return as_objects([value if isinstance(value, str) else None for value in values])
