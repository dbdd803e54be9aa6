"""Two periods or two versions side by side, from stored summaries: no row is read.

The pages of a feature and of performance show it below their sentence; the choice lives in the URL as absolute dates.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import sqrt
from urllib.parse import urlencode

from django.http import HttpRequest

from driftline.base.errors import Problem
from driftline.base.periods import Period, floor
from driftline.web.charts.histograms import overlay_of
from driftline.web.charts.svg import Overlay
from driftline.web.pages.column_reads import column_of
from driftline.web.pages.timerange import TimeRange, compared_period
from inference.registry.models import Model, Version
from inference.registry.selectors import get_version
from monitors.alerts.models import Incident
from monitors.metrics.periods import held_period
from monitors.stats.drift.distances import compare, population_stability_index
from monitors.stats.drift.prepared import prepare_reference
from monitors.stats.mergeable.outcomes import OutcomeSummary, merge_outcomes
from monitors.stats.mergeable.sketches import CategoricalSummary, NumericSummary
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary, merge_columns
from monitors.stats.performance.blocks import measure_blocks
from monitors.stats.performance.estimate import Estimate, around, difference, share
from monitors.summaries.models import Summary
from monitors.summaries.stored import SHORTER

LEVELS_SHOWN = 10
VERSIONS_OFFERED = 100
QUANTILES = (("5th percentile", 0.05), ("Median", 0.5), ("95th percentile", 0.95))
CHOICE = ("with_from", "with_to", "with_version")
_PARTS = ("chart", "as", "part")  # of a page, that a link to the page leaves out
_DAY = timedelta(days=1)
NOTHING = Estimate(None, 0)


# -- what is compared --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ComparedSide:
    """Whole days of a model in UTC, of one version in all its roles or of all its champions."""

    model: Model
    period: Period
    version: Version | None

    @property
    def days(self) -> str:
        last = self.period.end - _DAY
        if last == self.period.start:
            return f"{last:%-d %b %Y}"
        return f"{self.period.start:%-d %b %Y} to {last:%-d %b %Y}"

    @property
    def who(self) -> str:
        return f"version {self.version.version}" if self.version else "all champions"

    def summaries(self, features: Sequence[str]) -> Iterator[tuple[datetime, WindowSummary]]:
        """Read what is stored of each day, oldest first."""
        stored = Summary.objects.filter(
            model=self.model, span__in=SHORTER, segment="",
            start__gte=self.period.start, start__lt=self.period.end,
        )  # fmt: skip
        of_version = stored.filter(version=self.version) if self.version else stored.filter(role="champion")
        for start, payload in of_version.order_by("start").values_list("start", "payload"):
            yield start, WindowSummary.decode(bytes(payload), features=features)


@dataclass(frozen=True)
class ComparedSides:
    """The range that the page shows, and what it is compared with."""

    now: ComparedSide
    then: ComparedSide

    @property
    def names(self) -> tuple[str, str]:
        """Name the two by what differs: the compared one first."""
        if self.now.period == self.then.period:
            return self.then.who, self.now.who
        if self.now.version == self.then.version:
            suffix = f", {self.now.who}" if self.now.version else ""
            return self.then.days + suffix, self.now.days + suffix
        return f"{self.then.days}, {self.then.who}", f"{self.now.days}, {self.now.who}"


@dataclass(frozen=True)
class ComparedRow:
    """One number of both sides, and how far they lie apart; `metric` names it where it is a metric."""

    title: str
    now: Estimate
    then: Estimate
    metric: str = ""
    is_count: bool = False

    @property
    def difference(self) -> Estimate:
        return difference(self.now, self.then)

    @property
    def verdict(self) -> str:
        """Return whether the interval of the difference leaves 0 out; empty where there is no interval."""
        found = self.difference
        if found.lower is None or found.upper is None:
            return ""
        return "within chance" if found.lower <= 0 <= found.upper else "beyond chance"


@dataclass(frozen=True)
class ComparisonChoice:
    """What the form offers, and what it keeps of the page's own parameters."""

    kept: Sequence[tuple[str, str]]
    versions: Sequence[str]
    previous: str
    incident: str
    incident_id: int | None
    without: str
    version: str
    with_version: str
    dates: tuple[str, str]


@dataclass(frozen=True)
class Comparison:
    """The form, and what was chosen: names of the columns, rows, and a sentence where a side is empty."""

    choice: ComparisonChoice
    names: tuple[str, str] | None = None
    rows: Sequence[ComparedRow] = ()
    missing: Sequence[str] = ()
    overlay: Overlay | None = None
    psi: float | None = None


# -- a feature ---------------------------------------------------------------------------------------------------------
def compare_feature(request: HttpRequest, model: Model, feature: str, chosen: TimeRange) -> Comparison:
    """Set a column of the range beside that of another period or version, where one was chosen."""
    choice, sides = _chosen(request, model, chosen)
    if sides is None:
        return Comparison(choice)
    now, then = (_column(side, feature) for side in (sides.now, sides.then))
    missing = [
        f"No value of {feature} was logged by {side.who}, {side.days}."
        for side, column in ((sides.now, now), (sides.then, then))
        if column is None
    ]
    if now is None or then is None:
        return Comparison(choice, sides.names, missing=missing)
    names = sides.names
    overlay = overlay_of(feature, then, [now], (f"({names[0]})", f"({names[1]})"))
    return Comparison(
        choice,
        names,
        [*_column_rows(now, then)],
        overlay=overlay and replace(overlay, keys=names),
        psi=_psi(now, then),
    )


def _column(side: ComparedSide, feature: str) -> ColumnSummary | None:
    columns = [column_of(summary, feature) for _, summary in side.summaries([feature])]
    known = [column for column in columns if column is not None and column.rows]
    return merge_columns(known) if known else None


def _column_rows(now: ColumnSummary, then: ColumnSummary) -> Iterator[ComparedRow]:
    yield ComparedRow("Rows", _count(now.rows), _count(then.rows), is_count=True)
    yield ComparedRow(
        "Share missing", share(now.missing, now.rows), share(then.missing, then.rows), "missing_share"
    )
    if isinstance(now, NumericSummary) and isinstance(then, NumericSummary):
        yield ComparedRow("Mean", _mean(now), _mean(then))
        for title, q in QUANTILES:
            yield ComparedRow(title, _quantile(now, q), _quantile(then, q))
    if isinstance(now, CategoricalSummary) and isinstance(then, CategoricalSummary):
        yield from _level_rows(now, then)


def _level_rows(now: CategoricalSummary, then: CategoricalSummary) -> Iterator[ComparedRow]:
    rows = [
        ComparedRow(
            f"Share of {level}",
            share(now.counts.get(level, 0), now.n),
            share(then.counts.get(level, 0), then.n),
        )
        for level in {**now.counts, **then.counts}
    ]
    yield from sorted(rows, key=lambda row: -abs(row.difference.value or 0.0))[:LEVELS_SHOWN]


def _count(rows: int) -> Estimate:
    return Estimate(float(rows), rows)


def _mean(column: NumericSummary) -> Estimate:
    if not column.n:
        return NOTHING
    error = column.std / sqrt(column.n - 1) if column.n > 1 else float("nan")
    return around(column.mean, column.n, error, method="normal")


def _quantile(column: NumericSummary, q: float) -> Estimate:
    return Estimate(float(column.quantile(q)), column.n) if column.n else NOTHING


def _psi(now: ColumnSummary, then: ColumnSummary) -> float | None:
    if type(now) is not type(then) or not now.n or not then.n:
        return None
    return population_stability_index(compare(prepare_reference(then), now)).value


# -- performance -------------------------------------------------------------------------------------------------------
def compare_performance(request: HttpRequest, model: Model, chosen: TimeRange) -> Comparison:
    """Set the metrics of the range beside those of another period or version, where one was chosen."""
    choice, sides = _chosen(request, model, chosen)
    if sides is None:
        return Comparison(choice)
    now, then = _measure(sides.now), _measure(sides.then)
    missing = [
        f"No prediction was logged by {side.who}, {side.days}."
        if not measured.rows
        else f"No labels for what {side.who} predicted, {side.days}."
        for side, measured in ((sides.now, now), (sides.then, then))
        if not measured.metrics
    ]
    rows = [
        ComparedRow("Predictions", _count(now.rows), _count(then.rows), is_count=True),
        ComparedRow("", share(now.labelled, now.rows), share(then.labelled, then.rows), "label_coverage"),
        *(
            ComparedRow("", now.metrics.get(name, NOTHING), then.metrics.get(name, NOTHING), name)
            for name in {**now.metrics, **then.metrics}
        ),
    ]
    return Comparison(choice, sides.names, rows if now.rows or then.rows else (), missing)


@dataclass(frozen=True)
class MeasuredSide:
    """What one side shows: its rows, those with a label, and its metrics."""

    rows: int
    labelled: int
    metrics: Mapping[str, Estimate]


def _measure(side: ComparedSide) -> MeasuredSide:
    days: dict[datetime, list[OutcomeSummary]] = {}
    rows = labelled = 0
    for start, summary in side.summaries(()):
        rows, labelled = rows + summary.rows, labelled + summary.labelled
        if summary.outcome is not None and summary.outcome.n:
            days.setdefault(start, []).append(summary.outcome)
    blocks = [merge_outcomes(parts) for parts in days.values()]
    if not blocks:
        return MeasuredSide(rows, labelled, {})
    quantile = side.model.objectives.get("quantile")
    return MeasuredSide(rows, labelled, measure_blocks(merge_outcomes(blocks), blocks, quantile=quantile))


# -- the choice --------------------------------------------------------------------------------------------------------
def _chosen(
    request: HttpRequest, model: Model, chosen: TimeRange
) -> tuple[ComparisonChoice, ComparedSides | None]:
    asked, with_version = compared_period(request), request.GET.get("with_version", "")
    period = _stored_period(model, asked) if asked else None
    choice = _offer(request, model, chosen, period)
    if period is None and not with_version:
        return choice, None
    own = _version(model, choice.version)
    now = ComparedSide(model, _stored_period(model, Period(chosen.start, chosen.end)), own)
    then = ComparedSide(
        model,
        period or now.period,
        _version(model, with_version) if with_version else own,
    )
    return choice, ComparedSides(now, then)


def _version(model: Model, name: str) -> Version | None:
    return get_version(model=model, version=name) if name else None


def _stored_period(model: Model, period: Period) -> Period:
    """Widen a period to the days, or months of long ago, that its summaries are of. Raises Problem."""
    try:
        return held_period(model, _whole_days(period))
    except OverflowError as error:
        raise Problem(
            400, "invalid_range", "The period reaches beyond the year 9999; use a shorter one."
        ) from error


def _whole_days(period: Period) -> Period:
    return Period(floor(period.start, "day"), floor(period.end - timedelta(microseconds=1), "day") + _DAY)


def _offer(request: HttpRequest, model: Model, chosen: TimeRange, period: Period | None) -> ComparisonChoice:
    own = {name: request.GET.get(name, "") for name in request.GET if name not in (*CHOICE, *_PARTS)}
    own |= chosen.absolute
    plain = {name: value for name, value in own.items() if name != "version"}
    length = chosen.end - chosen.start
    incident = (
        Incident.objects.filter(model=model, opened_at__lt=chosen.end).order_by("-opened_at", "-pk").first()
    )
    before = floor(incident.since, "day") if incident else None
    return ComparisonChoice(
        kept=list(plain.items()),
        versions=list(model.versions.order_by("-pk").values_list("version", flat=True)[:VERSIONS_OFFERED]),
        previous=_before(own, chosen.start, length),
        incident=_before(own, before, length) if before else "",
        incident_id=incident.pk if incident else None,
        without=f"?{urlencode(plain)}",
        version=request.GET.get("version", ""),
        with_version=request.GET.get("with_version", ""),
        dates=_dates(period) if period else ("", ""),
    )


def _before(own: Mapping[str, str], end: datetime, length: timedelta) -> str:
    """Link to the comparison with the period that ends there; empty where there is none."""
    try:
        first, last = _dates(Period(end - length, end))
    except OverflowError:
        return ""
    return f"?{urlencode({**own, 'with_from': first, 'with_to': last})}"


def _dates(period: Period) -> tuple[str, str]:
    """Return the first and the last day of a period as a form has them."""
    whole = _whole_days(period)
    return f"{whole.start:%Y-%m-%d}", f"{whole.end - _DAY:%Y-%m-%d}"
