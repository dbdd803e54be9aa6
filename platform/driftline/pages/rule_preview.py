"""What a rule means, in a sentence, and what it would have done in the stored past, as a chart with marks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from driftline.common.number_format import format_number
from driftline.common.periods import counted, in_a_row
from driftline.pages.charts import Chart, ChartLine, Dot, Mark
from driftline.pages.timerange import TimeRange
from monitors.metrics.catalogue import METRICS, title_of
from monitors.rules.models import Rule
from monitors.rules.reach import not_tested_because
from monitors.rules.services import Backtest, Window, backtest

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


def sentence_of(rule: Rule) -> str:
    """Say what a rule does."""
    subject = title_of(rule.metric, rule.feature)
    where = f" where {rule.segment}" if rule.segment else ""
    windows = rule.asked_windows if rule.of_windows else in_a_row(rule.for_windows, rule.judged_span)
    rows = f" of at least {rule.min_rows:,} rows" if rule.min_rows > 1 else ""
    good = in_a_row(rule.recover_windows, rule.judged_span, "good ")
    back = "" if rule.recovery_threshold is None else f" back at {format_number(rule.recovery_threshold)}"
    action = " and starts a retrain run" if rule.action == Rule.Action.RETRAIN else ""
    return (
        f"Opens a {rule.severity} incident{action} when {subject}{where} is {rule.operator} "
        f"{format_number(rule.threshold)} for {windows}{rows}. Resolves it after {good}{back}."
    )


def _chart(rule: Rule, tested: Backtest, chosen: TimeRange) -> Chart:
    """Draw the windows that the rule would have judged, with a mark where it would have fired."""
    title = title_of(rule.metric, rule.feature)
    dots = [
        Dot(
            one.start, one.end, one.value, one.n, threshold=rule.threshold,
            status="ok" if one.value is None or not rule.is_breached_by(one.value) else "warning",
        )
        for one in tested.windows
    ]  # fmt: skip
    marks = [
        Mark(one.end, "fires", f"it would have fired at {format_number(one.value)}", "fired")
        for one in tested.opened
        if one.value is not None
    ]
    worst = ", of each window the feature that is furthest" if rule.feature == "*" else ""
    return Chart(
        id="backtest", title=title, summary=f"The limit is {format_number(rule.threshold)}{worst}.",
        start=max(tested.windows[0].start, chosen.end - LOOKED_BACK), end=chosen.end,
        series=[ChartLine(title, dots)], unit=METRICS[rule.metric].unit, marks=marks,
    )  # fmt: skip
