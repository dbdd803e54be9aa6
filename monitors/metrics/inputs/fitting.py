"""Which windows fit the traffic: the shortest span in which enough rows, and for performance enough labels, come.

A monitor judges windows of a day, a week or a month; an hour, or days that roll, only where a person chose it. The span
is chosen from what the model's own newest ended windows brought:

- A span fits where the median of its newest windows with rows (28 days, 8 weeks, 3 months) is at least the monitor's
  `min_rows`. A window that began before the model's first row is left out, and of a span of which no whole window has
  ended the mean of a day is taken so many times.
- Performance counts the labelled rows of windows with labels that had their time to come, where enough of the rows have
  one (`min_label_coverage`); where they have not, no window is ever judged by labels, and rows count, as for estimates.
- The shortest span that fits is taken, the month where none does, and none until three days with rows have ended.
- A monitor stays with its span until that has too few rows, and goes back to a shorter one once that has half as many
  again as needed, at the median of at least five windows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from statistics import median

from django.db import transaction
from django.db.models import QuerySet, Sum, Value

from driftline.base.periods import end_of, floor, longest, windows_with
from driftline.base.work.task_queue import Task, enqueue
from driftline.base.work.work_rows import touch
from inference.prediction_log.models import ANSWERING_ROLES
from inference.prediction_log.queries.selectors import oldest_event
from inference.registry.models import Model
from monitors.definitions.models import Monitor, MonitorKind
from monitors.definitions.monitors import choose_span, fit_span
from monitors.metrics.context import Context, context_of
from monitors.metrics.store.models import Accumulator, ChangePoint, DetectorState
from monitors.summaries.models import StaleWindow, Summary

AUTOMATIC = ("day", "week", "month")
NEWEST = {"hour": 100, "day": 28, "week": 8, "month": 3}
MIN_DAYS = 3
RETURN_TIMES, RETURN_WINDOWS = 1.5, 5
_PARTS_READ = 130  # three whole months and the part of the present one
_WINDOWS_MEASURED_AGAIN = 2_000
_ASKED_AT_ONCE = 100
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class WindowRows:
    """How many rows a window has, and how many of them a label."""

    start: datetime
    rows: int
    labelled: int


# -- what windows bring ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class WindowsAsked:
    """The windows of a span of a model's segment that had ended `until` a moment."""

    model_id: int
    span: str
    until: datetime
    segment: str = ""

    @property
    def parts(self) -> QuerySet[Summary, tuple[datetime, int, int]]:
        """The hours or days that they consist of, the newest first, each with its rows and labelled ones."""
        stored = Summary.objects.filter(
            model=self.model_id,
            span="hour" if self.span == "hour" else "day",
            segment=self.segment,
            role__in=ANSWERING_ROLES,
            start__lt=self.until,
        )
        sums = stored.order_by("-start").values("start").annotate(n=Sum("rows"), known=Sum("labelled"))
        return sums.values_list("start", "n", "known")[:_PARTS_READ]


def rows_of_windows(
    model: Model, span: str, *, until: datetime, segment: str = "", newest: int = 0
) -> list[WindowRows]:
    """List the `newest` windows of a span that had ended `until` a moment and have rows, oldest first.

    So many as say what one usually brings, unless their number is given.
    """
    asked = WindowsAsked(model.pk, span, until, segment)
    return rows_of_each([asked], newest=newest)[asked]


def rows_of_each(asked: Iterable[WindowsAsked], *, newest: int = 0) -> dict[WindowsAsked, list[WindowRows]]:
    """List what `rows_of_windows` does of windows of many models and spans, by one question for many of them."""
    found: dict[WindowsAsked, list[WindowRows]] = {}
    for some in batched(dict.fromkeys(asked), _ASKED_AT_ONCE):
        parts = [one.parts.annotate(place=Value(place)) for place, one in enumerate(some)]
        rows: dict[int, list[WindowRows]] = {}
        for start, n, known, place in parts[0].union(*parts[1:], all=True):
            rows.setdefault(place, []).append(WindowRows(start, n, known))
        for place, one in enumerate(some):
            with_rows = [part for part in rows.get(place, ()) if part.rows]
            windows = _merged(with_rows, one.span, until=one.until)
            found[one] = windows[-(newest or NEWEST.get(one.span, NEWEST["day"])) :]
    return found


def _merged(
    parts: Iterable[WindowRows], span: str, *, until: datetime, since: datetime | None = None
) -> list[WindowRows]:
    """Add up the rows of whole windows; one that began before `since` is left out."""
    found: dict[datetime, WindowRows] = {}
    for part in parts:
        for start in windows_with(part.start, span):
            if end_of(start, span) <= until:
                before = found.get(start, WindowRows(start, 0, 0))
                found[start] = WindowRows(start, before.rows + part.rows, before.labelled + part.labelled)
    windows = sorted(found.values(), key=lambda window: window.start)
    return [window for window in windows if since is None or window.start >= since]


def rows_judged(model: Model, monitors: Sequence[Monitor], *, until: datetime) -> dict[str, list[int]]:
    """List the rows that each of a model's monitors had to judge by in the newest windows of its span, oldest first.

    The windows of each span are read once; the lists go by the kinds of the monitors.
    """
    spans = {monitor.span for monitor in monitors}
    windows = {span: rows_of_windows(model, span, until=until) for span in spans}
    return {
        str(monitor.kind): [_judgeable(one, monitor) for one in windows[monitor.span]] for monitor in monitors
    }


# -- which span fits ---------------------------------------------------------------------------------------------------
def fitting_span(days: Sequence[WindowRows], monitor: Monitor, *, until: datetime, since: datetime) -> str:
    """Choose the span of a monitor by the days that had ended `until` a moment; `since` is the model's first day."""
    if len(days) < MIN_DAYS:
        return monitor.span
    counted = {
        span: [_judgeable(one, monitor) for one in _merged(days, span, until=until, since=since)][
            -NEWEST[span] :
        ]
        for span in AUTOMATIC
    }
    mean = sum(_judgeable(day, monitor) for day in days) / max((until - days[0].start) / _DAY, 1)
    present = monitor.span if monitor.span in AUTOMATIC else AUTOMATIC[0]
    for span in AUTOMATIC:
        usual = median(counted[span]) if counted[span] else mean * (longest(span) / _DAY)
        is_shorter = AUTOMATIC.index(span) < AUTOMATIC.index(present)
        if is_shorter and len(counted[span]) < RETURN_WINDOWS:
            continue
        if usual >= monitor.min_rows * (RETURN_TIMES if is_shorter else 1):
            return span
    return AUTOMATIC[-1]


def _judgeable(window: WindowRows, monitor: Monitor) -> int:
    """Count the rows of a window that a monitor can judge by."""
    if monitor.kind != MonitorKind.PERFORMANCE:
        return window.rows
    has_labels = window.labelled and window.labelled >= monitor.min_label_coverage * window.rows
    return window.labelled if has_labels else window.rows


def fit_spans(context: Context) -> None:
    """Set the spans of a model's monitors to those that fit its traffic, in the caller's transaction.

    The monitors of the context have their new spans at once.
    """
    free = [monitor for monitor in context.monitors.values() if not monitor.is_span_chosen]
    first = oldest_event(context.model) if free else None
    if first is None:
        return
    days: dict[datetime, list[WindowRows]] = {}
    for monitor in free:
        lag = context.label_lag if monitor.kind == MonitorKind.PERFORMANCE else timedelta(0)
        until = floor(context.event_now - lag, "day")
        if until not in days:
            days[until] = rows_of_windows(context.model, "day", until=until, newest=_PARTS_READ)
        span = fitting_span(days[until], monitor, until=until, since=floor(first, "day"))
        if span != monitor.span:
            fit_span(monitor=monitor, span=span)


def set_span(*, monitor: Monitor, span: str, actor: str) -> None:
    """Set the span of a monitor as a person wants it; with `auto` it has the one that fits the traffic at once."""
    with transaction.atomic():
        choose_span(monitor=monitor, span=span, actor=actor)
        if not monitor.is_span_chosen:
            fit_spans(context_of(monitor.model))


def measure_history(monitor: Monitor, span: str) -> None:
    """Schedule a measurement of the newest stored windows of a span, in the transaction that made a monitor judge it.

    Where the error changed was noticed in windows of another span: it is looked for anew. What drift adds up to has its
    own windows.
    """
    if monitor.kind == MonitorKind.PERFORMANCE:
        for noticed in (DetectorState, ChangePoint):
            of_performance = noticed.objects.filter(model_id=monitor.model_id).exclude(
                detector=Accumulator.DRIFT
            )
            of_performance.exclude(span=monitor.span).delete()
    stored = Summary.objects.filter(
        model_id=monitor.model_id, span="hour" if span == "hour" else "day", segment=""
    )
    parts = stored.order_by("-start").values_list("start", flat=True).distinct()[:_WINDOWS_MEASURED_AGAIN]
    starts = sorted({start for part in parts for start in windows_with(part, span)})
    stale = [(monitor.model_id, span, start) for start in starts[-_WINDOWS_MEASURED_AGAIN:]]
    touch(StaleWindow, stale, fields=("model_id", "span", "start"))
    enqueue(Task.MEASURE, model_id=monitor.model_id)
