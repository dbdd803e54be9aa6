"""References that are made of the log: stored summaries of before, added up for each window that is compared.

They are stretches of whole hours or days, each of which stands for a window when limits are drawn. Features are of all
requests that callers were answered; answers, scores and labels are those of the reference's own version, in whatever
role it gave them: so a version is not compared with what another one answered.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import chain

from django.db.models import Q

from driftline.base.periods import Period, day_of, floor, windows
from inference.prediction_log.models import ANSWERING_ROLES
from monitors.definitions.models import Reference
from monitors.metrics.hooks import days_of_faults
from monitors.stats.drift.reference_days import MIN_DAYS
from monitors.stats.mergeable.window_summary import WindowSummary, merge_windows
from monitors.summaries.models import Summary

MIN_SHARE = 0.5
"""Of the days or weeks that were asked for. With fewer, or fewer than limits are made from (`MIN_DAYS`), nothing is
judged: rows of a day or an hour resemble each other, and ten days of weather are no measure of the eleventh."""
_DAY, _WEEK = timedelta(days=1), timedelta(weeks=1)


@dataclass(frozen=True)
class Stretch:
    """A part of the log that stands for one window; summaries are named by key and the time of their last change."""

    period: Period
    summaries: tuple[tuple[int, datetime], ...]


@dataclass(frozen=True)
class Stretches:
    """What a reference consists of for one window, oldest first, and why that is too little, if it is."""

    found: tuple[Stretch, ...]
    lacks: str

    @property
    def period(self) -> Period | None:
        return Period(self.found[0].period.start, self.found[-1].period.end) if self.found else None


def find_stretches(reference: Reference, window: Period) -> Stretches:
    """Find what a window is compared with; days of critical incidents are left out, save of a fixed period."""
    wanted, candidates = _candidates(reference, window)
    if reference.kind != Reference.Kind.PERIOD and candidates:
        faults = days_of_faults(reference.model, candidates[-1].start, candidates[0].end)
        candidates = [one for one in candidates if not faults & _days_in(one)]
    span = "hour" if window.end - window.start < _DAY else "day"
    stored = _stored(reference, span, candidates)
    whole = [_stretch(period, span, stored) for period in candidates]
    found = [one for one in whole if one is not None][:wanted]
    lacks = ""
    if len(found) < max(MIN_SHARE * wanted, MIN_DAYS):
        unit = "weeks" if reference.kind == Reference.Kind.SAME_HOURS else "days"
        known = f"{len(found)} of {wanted} {unit}"
        lacks = f"Too little to compare with: {known} are stored and without a critical incident."
    return Stretches(tuple(reversed(found)), lacks)


def read_stretches(reference: Reference, stretches: Sequence[Stretch]) -> list[WindowSummary]:
    """Add up each stretch; an answer's columns are of the reference's version."""
    keys = [key for stretch in stretches for key, _ in stretch.summaries]
    rows = Summary.objects.filter(pk__in=keys).values_list("pk", "role", "version_id", "payload")
    known: dict[int, tuple[bool, bool, WindowSummary]] = {}
    for key, role, version_id, payload in rows:
        answered = role in ANSWERING_ROLES
        summary = WindowSummary.decode(bytes(payload), features=None if answered else ())
        known[key] = (answered, version_id == reference.version_id, summary)
    return [_add_up(known, stretch) for stretch in stretches]


def merged(parts: Sequence[WindowSummary]) -> WindowSummary:
    """Add summaries up, oldest first; of a column that changed its kind, those of its newest kind."""
    kinds = {name: type(column) for part in parts for name, column in part.features.items()}
    return merge_windows(
        [
            replace(
                part, features={n: column for n, column in part.features.items() if type(column) is kinds[n]}
            )
            for part in parts
        ]
    )


def with_answers_of_most(total: WindowSummary, parts: Sequence[WindowSummary]) -> WindowSummary:
    """Leave the answers out of a reference whose version gave them in less than half of its stretches."""
    if sum(part.prediction is not None for part in parts) >= MIN_SHARE * len(parts):
        return total
    return replace(total, prediction=None, score=None, outcome=None)


# -- which stretches ---------------------------------------------------------------------------------------------------
def _candidates(reference: Reference, window: Period) -> tuple[int, list[Period]]:
    """Return how many stretches are wanted, and list those that there may be, the newest first."""
    if reference.kind == Reference.Kind.PERIOD:
        assert reference.start is not None
        assert reference.end is not None
        days = list(windows(Period(reference.start, reference.end), "day"))
        return len(days), days[::-1]
    assert reference.length is not None
    if reference.kind == Reference.Kind.TRAILING:
        last = floor(window.start, "day") - reference.gap * _DAY
        return reference.length, [
            Period(last - back * _DAY, last - (back - 1) * _DAY)
            for back in range(1, 2 * reference.length + 1)
        ]
    distance = _WEEK * -(-(window.end - window.start) // _WEEK)
    return reference.length, [
        Period(window.start - back * distance, window.end - back * distance)
        for back in range(1, reference.length + 1)
    ]


def _days_in(period: Period) -> set[date]:
    return {day_of(day.start) for day in windows(period, "day")}


type _Stored = Mapping[datetime, Sequence[tuple[int, datetime, bool]]]
"""Of each hour or day the summaries: key, time of the last change, whether callers were answered that."""


def _stored(reference: Reference, span: str, candidates: Iterable[Period]) -> _Stored:
    starts = {one.start for period in candidates for one in windows(period, span)}
    rows = Summary.objects.filter(
        Q(role__in=ANSWERING_ROLES) | Q(version_id=reference.version_id),
        model_id=reference.model_id,
        span=span,
        segment="",
        start__in=starts,
        rows__gt=0,
    ).order_by("start", "version_id", "role")
    stored: dict[datetime, list[tuple[int, datetime, bool]]] = {}
    for key, changed, start, role in rows.values_list("pk", "updated_at", "start", "role"):
        stored.setdefault(start, []).append((key, changed, role in ANSWERING_ROLES))
    return stored


def _stretch(period: Period, span: str, stored: _Stored) -> Stretch | None:
    """Gather a stretch's summaries; None where nobody was answered in it."""
    found = list(chain.from_iterable(stored.get(one.start, ()) for one in windows(period, span)))
    if not any(answered for _, _, answered in found):
        return None
    return Stretch(period, tuple((key, changed) for key, changed, _ in found))


def _add_up(known: Mapping[int, tuple[bool, bool, WindowSummary]], stretch: Stretch) -> WindowSummary:
    parts = [known[key] for key, _ in stretch.summaries if key in known]
    total = merged([summary for answered, _, summary in parts if answered])
    own = merge_windows([replace(summary, features={}) for _, is_own, summary in parts if is_own])
    return replace(
        total, prediction=own.prediction, score=own.score, outcome=own.outcome, labelled=own.labelled
    )
