"""Whether the labels that a run would learn from, or be judged by, still come as they always came.

Three shares are held against the model's own history, by the day of the prediction: of every class among the labels,
of every token among the labels, and of predictions that have a label. `stats/streams/share_shifts.py` has the formula.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from math import log
from typing import Any

import numpy as np
from django.db import connection

from driftline.base.periods import day_of
from inference.prediction_log.labels.selectors import count_by_day
from inference.registry.models import Model
from inference.signatures import Signature
from monitors.stats.streams.share_shifts import MIN_ODDS_RATIO, ShareShift, log_odds, share_shift
from monitors.workflows.models import Step

CLASS, TOKEN, ARRIVAL = "class", "token", "arrival"
MIN_CHANGE = {CLASS: 0.01, TOKEN: 0.2, ARRIVAL: 0.3}
"""Shares that change by less are no jump: a rare class may grow fourfold, a new token may send a few labels."""
HIGH = "a high value"

type Days = dict[date, dict[str, int]]


@dataclass(frozen=True)
class LabelJump:
    """A share of the newest labels that left its range; `name` is the class or the token's prefix."""

    kind: str
    name: str
    before: float
    now: float
    z: float
    rows: int
    since: date

    @property
    def sentence(self) -> str:
        texts = {
            CLASS: f"{self.name[:40]} is {self.now:.0%} of the {self.rows:,} labels",
            TOKEN: f"token {self.name[:40]} sent {self.now:.0%} of the {self.rows:,} labels",
            ARRIVAL: f"{self.now:.0%} of {self.rows:,} predictions have a label",
        }
        return f"{texts[self.kind]} since {self.since:%-d %b %Y}, {self.before:.0%} before"


@dataclass(frozen=True)
class LabelCounts:
    """Counts by the day of the prediction: labels by class, labels by token, and predictions."""

    by_class: Days = field(default_factory=dict)
    by_token: Days = field(default_factory=dict)
    predictions: dict[date, int] = field(default_factory=dict)


def find_jumps(counts: LabelCounts, signature: Signature, *, since: date) -> list[LabelJump]:
    """List the shares that jumped in the days from `since` on, as against the days before."""
    labels = {day: sum(found.values()) for day, found in counts.by_token.items()}
    judged = [
        *(_shift(CLASS, name, counts.by_class, since) for name in _watched_classes(signature)),
        *(_shift(TOKEN, name, counts.by_token, since) for name in _names(counts.by_token)),
        _arrivals(labels, counts.predictions, since),
    ]
    jumps = [
        LabelJump(kind, name, shift.before, shift.now, shift.z, shift.rows, since)
        for kind, name, shift in judged
        if shift is not None and shift.jumped
    ]
    return sorted(jumps, key=lambda jump: -abs(jump.z))


def _watched_classes(signature: Signature) -> list[str]:
    if signature.task == "regression":
        return [HIGH]
    if signature.task == "binary" and signature.positive_class is not None:
        return [signature.positive_class]
    return signature.classes


def _names(days: Days) -> list[str]:
    return sorted({name for found in days.values() for name in found})


def _shift(kind: str, name: str, days: Days, since: date) -> tuple[str, str, ShareShift | None]:
    ordered = sorted(days)
    hits = [days[day].get(name, 0) for day in ordered]
    totals = [sum(days[day].values()) for day in ordered]
    new = [day >= since for day in ordered]
    return kind, name, share_shift(hits, totals, new, least_change=MIN_CHANGE[kind])


def _arrivals(
    labels: Mapping[date, int], predictions: Mapping[date, int], since: date
) -> tuple[str, str, ShareShift | None]:
    """More labels than usual are a jump; fewer are late ones, which every newest day lacks."""
    ordered = sorted(predictions)
    totals = [predictions[day] for day in ordered]
    hits = np.minimum([labels.get(day, 0) for day in ordered], totals)
    new = [day >= since for day in ordered]
    shift = share_shift(hits, totals, new, least_change=MIN_CHANGE[ARRIVAL])
    return ARRIVAL, "", shift if shift is not None and shift.now > shift.before else None


# -- counting ----------------------------------------------------------------------------------------------------------
def count_labels(
    model: Model, signature: Signature, *, until: datetime, since: date, reference: Days | None = None
) -> LabelCounts:
    """Count the log's labels before `until`; `reference` adds labels by class of days before the log."""
    by_class = (
        _numbers_by_day(model, until, since)
        if signature.task == "regression"
        else count_by_day(model, "value", until=until)
    )
    first = min(by_class, default=None)
    older = {day: found for day, found in (reference or {}).items() if first is None or day < first}
    by_token = count_by_day(model, "source", until=until)
    return LabelCounts(older | by_class, by_token, _predictions(model, until))


def _predictions(model: Model, until: datetime) -> dict[date, int]:
    with connection.cursor() as cursor:
        cursor.execute(_PREDICTIONS, {"model": model.pk, "until": until, "last": day_of(until)})
        return dict(cursor.fetchall())


_PREDICTIONS = """
WITH stored AS (
    SELECT model_id, role, day, rows, start, "end" FROM inference_packedday WHERE day < %(last)s
    UNION ALL
    SELECT model_id, role, day, rows, start, "end" FROM inference_predictionchunk WHERE is_packed AND day = %(last)s
    UNION ALL
    SELECT model_id, role, day, rows, start, "end" FROM inference_predictionchunk WHERE NOT is_packed
)
SELECT day, ceil(sum(rows * least(
    1, extract(epoch FROM %(until)s - start) / greatest(extract(epoch FROM "end" - start), 0.000001)
)))::bigint
FROM stored WHERE model_id = %(model)s AND start < %(until)s AND role <> 'shadow' GROUP BY day
"""
"""Chunks are few where rows are many; of one that goes on after `until`, its share of the time counts."""


def _numbers_by_day(model: Model, until: datetime, since: date) -> Days:
    """Split a regression's labels at the median of those before `since`: a half of them is high."""
    values = [
        (day, float(value))
        for day, found in count_by_day(model, "value", until=until).items()
        for value, count in found.items()
        for _ in range(count)
    ]
    usual = [value for day, value in values if day < since]
    median = float(np.median(usual)) if usual else 0.0
    return days_of((day, HIGH if value > median else "") for day, value in values)


def days_of(labels: Iterable[tuple[date, str]]) -> Days:
    """Count labels by day and name."""
    days: Days = {}
    for day, name in labels:
        found = days.setdefault(day, {})
        found[name] = found.get(name, 0) + 1
    return days


# -- what people have said ---------------------------------------------------------------------------------------------
def not_yet_approved(model: Model, jumps: list[LabelJump]) -> list[LabelJump]:
    """Leave out the jumps of which a person has said before that they are right: the next run does not ask again."""
    steps = Step.objects.filter(run__model=model, evidence__has_keys=["approved_by", "jumps"])
    approved = [
        approved_jump
        for evidence in steps.values_list("evidence", flat=True)
        for approved_jump in evidence["jumps"]
    ]
    return [jump for jump in jumps if not any(_is_approved(jump, one) for one in approved)]


def _is_approved(jump: LabelJump, approved_jump: Mapping[str, Any]) -> bool:
    """The same share at about the same height: within what is no jump."""
    if (jump.kind, jump.name) != (approved_jump["kind"], approved_jump["name"]):
        return False
    change = log_odds(jump.now * jump.rows, jump.rows) - log_odds(
        approved_jump["now"] * approved_jump["rows"], approved_jump["rows"]
    )
    return abs(change) < log(MIN_ODDS_RATIO)


def evidence_of(jumps: list[LabelJump]) -> list[dict[str, Any]]:
    """Write jumps for a step's evidence."""
    return [asdict(jump) | {"since": jump.since.isoformat(), "sentence": jump.sentence} for jump in jumps]
