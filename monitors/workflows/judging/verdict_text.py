"""Which comparison each reason of a run belongs to, in the words of the pages."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monitors.metrics.catalogue import METRICS
from monitors.stats.promotion.gate import part_reasons
from monitors.workflows.judging.margins import CUSTOM_PREFIX
from monitors.workflows.models import Run

HELD_OUT = "Held-out rows, before the shadow"
LIVE = "Shadow on live requests, labelled pairs"
WORST_CASE = "Shadow on live requests, each missing label at its worst for the challenger"
_METRIC = re.compile(rf"(^|: |metric |objective )({re.escape(CUSTOM_PREFIX)}|[a-z0-9_]+(?= ))")


@dataclass(frozen=True)
class Reason:
    """One sentence on a challenger, and the rows that it is drawn from."""

    comparison: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.comparison}: {self.sentence}"


def reasons_of_verdict(verdict: Mapping[str, Any]) -> list[Reason]:
    """List each reason of a gate's verdict once."""
    live, worst_case = part_reasons([str(one) for one in verdict.get("reasons") or ()])
    return [
        *(Reason(LIVE, with_titles(sentence)) for sentence in live),
        *(Reason(WORST_CASE, with_titles(sentence)) for sentence in worst_case),
    ]


def reasons_of_validation(run: Run) -> list[Reason]:
    """List what the held-out rows showed; nothing where they were not judged."""
    step = next((one for one in run.steps.all() if one.name == "validate"), None)
    sentences = (step.evidence.get("reasons") if step else None) or ()
    return [Reason(HELD_OUT, with_titles(str(one))) for one in sentences]


def with_titles(sentence: str) -> str:
    """Write the metrics that a sentence names as pages do."""
    return _METRIC.sub(lambda found: found[1] + _title(found[2]), sentence)


def _title(name: str) -> str:
    if name == CUSTOM_PREFIX:
        return ""
    return METRICS[name].title if name in METRICS else name
