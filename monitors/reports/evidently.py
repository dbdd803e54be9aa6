"""The one place that knows Evidently: makes its presets of columns. Imported only inside a Celery task."""

import html
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pandas as pd
from evidently import (
    BinaryClassification,
    DataDefinition,
    Dataset,
    MulticlassClassification,
    Regression,
    Report,
)
from evidently.core.container import MetricContainer
from evidently.core.report import Snapshot
from evidently.presets import ClassificationPreset, DataDriftPreset, DataSummaryPreset, RegressionPreset
from numpy.typing import NDArray

from monitors.reports.files import Made

type Columns = Mapping[str, NDArray[Any]]

FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What Evidently raises on columns that it cannot take."""

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:"
)


@dataclass(frozen=True)
class Answers:
    """Which columns hold a classifier's answers, and how they came of its probabilities."""

    positive: str | None = None  # of a binary one
    probabilities: list[str] = field(default_factory=list)  # one column, or one a class
    threshold: float | None = None  # of the positive class's probability


def drift_report(
    current: Columns, reference: Columns, *, methods: Mapping[str, str], texts: Collection[str], about: str
) -> Made:
    """Compare each column by Evidently's own tests; `methods` names those that were chosen."""
    return _of_columns(DataDriftPreset(**methods), current, reference, texts, about)


def summary_report(current: Columns, reference: Columns | None, *, about: str) -> Made:
    """Describe each column, beside the reference's where there is one."""
    return _of_columns(DataSummaryPreset(), current, reference, (), about)


def classification_report(
    current: Columns, reference: Columns | None, answers: Answers, *, about: str
) -> Made:
    """Score the columns `label` and `prediction`.

    Evidently takes the probabilities where it has them and then leaves the answers alone: the threshold makes them
    the same answers.
    """
    kind: BinaryClassification | MulticlassClassification
    if answers.positive is None:
        kind = MulticlassClassification(
            target="label",
            prediction_labels="prediction",
            prediction_probas=answers.probabilities or None,
        )
    else:
        kind = BinaryClassification(
            target="label",
            prediction_labels=None if answers.probabilities else "prediction",
            prediction_probas=next(iter(answers.probabilities), None),
            pos_label=answers.positive,
        )
    definition = DataDefinition(
        numerical_columns=answers.probabilities,
        categorical_columns=[name for name in current if name not in answers.probabilities],
        classification=[kind],
    )
    preset = ClassificationPreset(probas_threshold=answers.threshold)
    return _made(_run(preset, definition, current, reference), about, {})


def regression_report(current: Columns, reference: Columns | None, *, about: str) -> Made:
    """Score the numbers in the columns `label` and `prediction`."""
    definition = DataDefinition(
        numerical_columns=list(current), regression=[Regression(target="label", prediction="prediction")]
    )
    return _made(_run(RegressionPreset(), definition, current, reference), about, {})


def _of_columns(
    preset: MetricContainer,
    current: Columns,
    reference: Columns | None,
    texts: Collection[str],
    about: str,
) -> Made:
    """Make a report column by column.

    One odd column makes Evidently refuse the whole report: then each is tried alone, and those it cannot take are left
    out.
    """

    def run(names: Collection[str]) -> Snapshot:
        sides = [side and {name: side[name] for name in names} for side in (current, reference)]
        return _run(preset, _definition(names, current, texts), sides[0] or {}, sides[1])

    try:
        return _made(run(list(current)), about, {})
    except FAULTS:
        refused = {name: fault for name in current if (fault := _fault(run, name))}
    return _made(run([name for name in current if name not in refused]), about, refused)


def _fault(run: Callable[[Collection[str]], Snapshot], name: str) -> str:
    try:
        run([name])
    except FAULTS as error:
        return type(error).__name__
    return ""


def _definition(names: Collection[str], current: Columns, texts: Collection[str]) -> DataDefinition:
    """Describe to Evidently what each column is: left to guess, it may take one for something else the next time."""
    categories = [name for name in names if current[name].dtype == object and name not in texts]
    return DataDefinition(
        numerical_columns=[name for name in names if current[name].dtype != object],
        categorical_columns=categories,
        text_columns=[name for name in names if name in texts],
    )


def _run(
    preset: MetricContainer, definition: DataDefinition, current: Columns, reference: Columns | None
) -> Snapshot:
    sides = [
        None if side is None else Dataset.from_pandas(pd.DataFrame(dict(side)), data_definition=definition)
        for side in (current, reference)
    ]
    return Report([preset], include_tests=True).run(sides[0], sides[1])


def _made(snapshot: Snapshot, about: str, refused: Mapping[str, str]) -> Made:
    left_out = [f"{name}: Evidently cannot take it ({fault})" for name, fault in refused.items()]
    about = " ".join([about, *(f"Left out: {one}." for one in left_out)])
    found = orjson.dumps(
        {"about": about, **snapshot.dict()},
        default=str,
        option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS,
    )
    return Made(_with_head(snapshot.get_html_str(as_iframe=False), about), found, left_out)


def _with_head(page: str, about: str) -> str:
    """Write on the page what it is about, and keep its data from being taken for markup, its scripts from the net.

    Evidently writes values of columns into a script as they are: `</script>` among them would end it. The data is JSON
    on lines of its own in the head, where a line break cannot be part of it.
    """
    head, mark, rest = page.partition("\n    </head>")
    lines = [
        line.replace("<", "\\u003c") if line.startswith("    var ") else line for line in head.split("\n")
    ]
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>Report</title>'
    said = f'<p style="font: 14px/1.5 sans-serif; margin: 16px 24px 0">{html.escape(about)}</p>'
    head = "\n".join(lines).replace("<head>", f"<head>{policy}", 1)
    return f"{head}{mark}{rest.replace('<body>', f'<body>{said}', 1)}"
