"""What a rule would have done in the stored past, as a chart with marks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from driftline.base.number_format import format_number
from driftline.base.periods import counted
from driftline.web.charts.svg import Chart, ChartLine, Dot, Mark
from driftline.web.pages.timerange import TimeRange
from monitors.metrics.catalogue import METRICS, title_of
from monitors.rules.judging.judge import Backtest, backtest
from monitors.rules.judging.reach import not_tested_because
from monitors.rules.judging.windows import PointReading, Window
from monitors.rules.models import Rule

MAX_SHOWN_WINDOWS = 8
LOOKED_BACK = timedelta(days=366)


@dataclass(frozen=True)
class RulePreview:
    """When a rule would have fired, the newest windows of that, or in `note` why nothing can be said."""

    note: str
    judged: str
    count: int
    windows: Sequence[Window]
    chart: Chart | None
    is_draft: bool
    """Whether the rule is not stored, so that its chart is on no page of its own."""

    @property
    def more(self) -> int:
        """How many earlier windows are not listed."""
        return self.count - len(self.windows)


def preview_of(rule: Rule, chosen: TimeRange) -> RulePreview:
    """Test a rule, stored or not, on the year before the newest event."""
    tested = backtest(rule=rule, start=chosen.end - LOOKED_BACK, end=chosen.end)
    return RulePreview(
        note=not_tested_because(rule, tested),
        judged=counted(tested.judged, rule.judged_span),
        count=len(tested.opened),
        windows=tested.opened[-MAX_SHOWN_WINDOWS:],
        chart=_chart(rule, tested, chosen) if tested.windows else None,
        is_draft=rule.pk is None,
    )


def _chart(rule: Rule, tested: Backtest, chosen: TimeRange) -> Chart:
    """Draw the windows that the rule would have judged, of a condition by its first comparison, with a mark where it
    would have fired."""
    readings = [(one, one.readings[0]) for one in tested.windows]
    dots = [
        Dot(one.start, one.end, seen.value, _rows(seen), threshold=seen.limit, status=_status(rule, seen))
        for one, seen in readings
    ]
    marks = [Mark(one.end, "fires", f"it would have fired{_at(one)}", "fired") for one in tested.opened]
    term = readings[0][1].term
    title = title_of(term.metric, term.feature)
    return Chart(
        id="backtest", title=title, summary=_summary(rule),
        start=max(tested.windows[0].start, chosen.end - LOOKED_BACK), end=chosen.end,
        series=[ChartLine(title, dots)], unit=METRICS[term.metric].unit, marks=marks,
    )  # fmt: skip


def _rows(reading: PointReading) -> int:
    return reading.point.n if reading.point else 0


def _status(rule: Rule, reading: PointReading) -> str:
    return rule.severity_at(reading.value) if reading.holds else "ok"


def _at(window: Window) -> str:
    return ", as there is no data" if window.value is None else f" at {format_number(window.value)}"


def _summary(rule: Rule) -> str:
    worst = ", of each window the feature that is furthest" if rule.terms[0].feature == "*" else ""
    if rule.condition is not None:
        return (
            f"The first comparison of the condition{worst}; the marks are where all of it would have fired."
        )
    critical = (
        "" if rule.critical_threshold is None else f", and critical {format_number(rule.critical_threshold)}"
    )
    return f"The limit is {format_number(rule.threshold)}{critical}{worst}."
