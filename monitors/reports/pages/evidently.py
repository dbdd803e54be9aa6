"""Where the verdicts of Evidently and of Driftline on a report's window differ, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driftline.base.number_format import format_number
from driftline.web.pages.templatetags.figures import chance
from monitors.metrics.catalogue import METRICS
from monitors.metrics.selectors import drift_rows, evidently_rows
from monitors.reports.models import Preset, Report

WORDS = {"drifted": "drifted", "stable": "did not drift", "no_data": "could not be judged"}


@dataclass(frozen=True)
class TwoVerdicts:
    """A feature that both judge differently: what each says and by which number, and why they differ."""

    feature: str
    evidently: str
    driftline: str
    why: str


@dataclass(frozen=True)
class VerdictsBeside:
    """The features that both judge differently, of all that both judged."""

    differing: Sequence[TwoVerdicts]
    judged: int


def is_comparable(report: Report) -> bool:
    """Return whether a report is about what Driftline judges too: drift of all that callers were answered."""
    is_of_reference = report.reference_start is None and report.has_reference
    return report.preset == Preset.DATA_DRIFT and report.version_id is None and is_of_reference


def verdicts_beside(report: Report) -> VerdictsBeside | None:
    """Judge a report's window by both; None where Driftline does not judge what the report is about."""
    if not is_comparable(report):
        return None
    period: dict[str, Any] = {
        "model": report.model,
        "start": report.start,
        "end": report.end,
        "segment": report.segment,
    }
    evidently = {row["feature"]: row for row in evidently_rows(**period)["items"]}
    ours = [row for row in drift_rows(**period)["items"] if row["feature"] in evidently]
    pairs = [(evidently[row["feature"]], row) for row in ours]
    differing = [_verdicts(theirs, own) for theirs, own in pairs if theirs["decision"] != own["decision"]]
    return VerdictsBeside(differing, len(pairs))


def _verdicts(theirs: Mapping[str, Any], own: Mapping[str, Any]) -> TwoVerdicts:
    test, score = next(iter(theirs["statistics"].items()), ("", None))
    metric, deciding = next(
        ((name, one) for name, one in own["statistics"].items() if one.get("decides")), ("", None)
    )
    return TwoVerdicts(
        feature=own["feature"],
        evidently=_said(theirs["decision"], test, score),
        driftline=_said(own["decision"], METRICS[metric].title if metric else "", deciding),
        why=_why(theirs, own, deciding),
    )


def _said(decision: str, statistic: str, judged: Mapping[str, Any] | None) -> str:
    words = WORDS.get(decision, decision.replace("_", " "))
    if judged is None or judged["value"] is None:
        return words
    limit = "" if judged["threshold"] is None else f", limit {format_number(judged['threshold'])}"
    p_value = chance(judged.get("decision_p_value"))
    return f"{words}: {statistic} {format_number(judged['value'])}{limit}" + (
        f", {p_value}" if p_value else ""
    )


def _why(theirs: Mapping[str, Any], own: Mapping[str, Any], deciding: Mapping[str, Any] | None) -> str:
    if theirs["decision"] == "no_data":
        return "Evidently judges no column that has no value on one side."
    if own["decision"] == "drifted":
        return (
            "Evidently leaves missing values out, and its line is the same for every column; Driftline counts them, "
            "and its limit is what this column does without drift."
        )
    if deciding is not None and deciding["status"] == "not_informative":
        return f"Ordinary windows of this column differ as much, so Driftline does not judge it. {deciding['advice']}"
    if deciding is not None and deciding["is_beyond"]:
        return "Beyond its own limit, but among so many features one such value is expected by chance."
    return "Windows of as many rows differ as much without drift; Evidently's line does not depend on their size."
