"""The section on what was not monitored: days without rows, windows that were never judged, labels that never came,
features that nothing is compared with, and what was switched off or silenced."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta

from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncMonth

from driftline.base.periods import Period, counted, day_of, longest, windows
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.models import PredictionChunk, TouchedPeriod
from inference.prediction_log.queries.selectors import oldest_row
from inference.registry.models import RowsKept
from inference.registry.selectors import signature_of
from monitors.alerts.models import Silence
from monitors.definitions.choosing import references_in_force
from monitors.definitions.models import Monitor, MonitorKind
from monitors.definitions.monitors import span_of
from monitors.metrics.catalogue import METRICS, measure_of, title_of
from monitors.metrics.periods import days_held_since
from monitors.metrics.references.loaded import reference_in_use
from monitors.metrics.store.models import MetricPoint, PackedPoints, PointStatus
from monitors.reports.evidence.rows import describe_counting, ended_in, stored_rows
from monitors.reports.evidence.sections import (
    MAX_TABLE_ROWS,
    Cell,
    EvidenceSection,
    EvidenceSubject,
    EvidenceTable,
    table,
)
from monitors.summaries.models import StaleWindow

_UNJUDGED = (
    PointStatus.INSUFFICIENT, PointStatus.NOT_INFORMATIVE, PointStatus.UNRIPE, PointStatus.UNRELIABLE,
    PointStatus.NO_DATA, PointStatus.ERROR,
)  # fmt: skip
_KIND_OF_MEASURE: dict[str, str] = {measure_of(name): metric.kind for name, metric in METRICS.items()}
_DAY = timedelta(days=1)


def not_monitored(subject: EvidenceSubject) -> EvidenceSection:
    """List every gap that stored rows show; what nobody stored, such as requests that bypass Driftline, they cannot."""
    return EvidenceSection(
        "not_monitored",
        "What was not monitored",
        [
            "Predictions that were neither answered by Driftline nor logged with it are in no number of this pack.",
            *describe_counting(subject),
            *_sentences(subject),
        ],
        [
            _days_without_rows(subject),
            _missing_labels(subject),
            _windows_without_points(subject),
            _unjudged_points(subject),
            _features_without_reference(subject),
            _switched_off(subject),
            _silences(subject),
        ],
    )


def _sentences(subject: EvidenceSubject) -> Iterator[str]:
    model, period = subject.model, subject.period
    if period.end > subject.now:
        yield "The period has not ended: what is still to come is missing."
    if model.archived_at:
        yield f"The model is archived since {model.archived_at:%Y-%m-%d}; its rules are not judged since then."
    since = days_held_since(model)
    if since and since > period.start:
        yield f"Before {since:%Y-%m-%d} summaries are kept by the month, so single days cannot be distinguished."
    oldest = oldest_row(model)
    if model.rows_kept == RowsKept.NONE:
        yield "The model keeps no rows: numbers cannot be computed anew from rows, only from summaries."
    elif oldest is None or oldest > period.start:
        yield "Rows of the period, or of its beginning, are not kept any more, or there never were any."
    yield from _describe_erasures(subject)
    waiting = (
        StaleWindow.objects.unfinished().filter(model=model).count()
        + TouchedPeriod.objects.unfinished().filter(model=model).count()
    )
    if waiting:
        yield f"{waiting:,} windows or hours wait to be summarised or measured, so their numbers may still change."
    damaged = (
        PredictionChunk.objects.filter(
            model=model,
            day__gte=day_of(period.start),
            day__lte=day_of(period.end),
            start__lt=period.end,
            end__gte=period.start,
        )
        .exclude(damage="")
        .aggregate(rows=Sum("rows"))["rows"]
    )
    if damaged:
        yield f"{damaged:,} rows of the period cannot be read, because their storage is damaged."


def _describe_erasures(subject: EvidenceSubject) -> Iterator[str]:
    """Yield how many rows were erased since the period began: earlier packs counted those of this model."""
    found = Erasure.objects.filter(
        project=subject.model.project, state=Erasure.State.DONE, finished_at__gte=subject.period.start
    )
    erased = [
        (key_hash, rows, subject.model.name in remains)
        for key_hash, counts, remains in found.values_list("key_hash", "counts", "remains")
        if (rows := counts.get("predictions", 0))
    ]
    if erased:
        persons = len({key_hash for key_hash, _, _ in erased})
        yield (
            f"Rows that were erased from the project since the period began: {sum(rows for _, rows, _ in erased):,} of "
            f"{counted(persons, 'person')}. Rows and metrics of this model are without them; "
            "its incidents say what was there when they opened."
        )
    if any(is_counted for _, _, is_counted in erased):
        yield "Where rows were dropped before, summaries still count some of those that were erased."


# -- rows and labels ---------------------------------------------------------------------------------------------------
def _days_without_rows(subject: EvidenceSubject) -> EvidenceTable:
    with_rows = stored_rows(subject).filter(span__in=("hour", "day"), rows__gt=0)
    known = {day_of(start) for start in with_rows.values_list("start", flat=True)}
    end = min(subject.period.end, subject.now)
    start = max(subject.period.start, days_held_since(subject.model) or subject.period.start)
    days = (day_of(one.start) for one in windows(Period(start, end), "day")) if start < end else ()
    stretches = _stretches(day for day in days if day not in known)
    return table(
        "Days without rows",
        {"first": "First day", "last": "Last day", "days": "Days"},
        ((first.isoformat(), last.isoformat(), (last - first).days + 1) for first, last in stretches),
    )


def _stretches(days: Iterable[date]) -> Iterator[tuple[date, date]]:
    """Join days that follow each other."""
    first: date | None = None
    last: date | None = None
    for day in days:
        if first is None or last is None or day - last > _DAY:
            if first is not None and last is not None:
                yield first, last
            first = day
        last = day
    if first is not None and last is not None:
        yield first, last


def _missing_labels(subject: EvidenceSubject) -> EvidenceTable:
    months = (
        stored_rows(subject)
        .annotate(month=TruncMonth("start"))
        .values("month")
        .annotate(rows=Sum("rows"), labelled=Sum("labelled"))
        .order_by("month")
    )
    counts = [(one["month"], one["rows"], one["labelled"]) for one in months]
    return table(
        "Rows without a label, by month",
        {
            "month": "Month",
            "rows": "Rows",
            "labelled": "With a label",
            "missing": "Without",
            "share": "Share without",
        },
        (
            (f"{month:%Y-%m}", rows, labelled, rows - labelled, (rows - labelled) / rows)
            for month, rows, labelled in counts
            if rows
        ),
    )


# -- windows -----------------------------------------------------------------------------------------------------------
def _windows_without_points(subject: EvidenceSubject) -> EvidenceTable:
    """Count the windows that ended in the period and of which a monitor measured nothing."""
    return table(
        "Windows of which nothing was measured",
        {"kind": "Monitor", "span": "Windows", "expected": "Ended in the period", "missing": "Without a measurement"},
        (
            row
            for monitor in subject.model.monitors.order_by("kind")
            if (row := _count_missing(subject, monitor))[-1]
        ),
    )  # fmt: skip


def _count_missing(subject: EvidenceSubject, monitor: Monitor) -> tuple[Cell, ...]:
    start, until = subject.period.start, min(subject.period.end, subject.now)
    expected = {one.start for one in windows(subject.period, monitor.span) if one.end <= until}
    found = PackedPoints.objects.filter(
        model=subject.model, role="champion", version="", segment="", span=monitor.span,
        start__gt=start - longest(monitor.span), start__lt=until, measure=monitor.kind,
    )  # fmt: skip
    missing = expected - set(found.values_list("start", flat=True))
    return monitor.get_kind_display(), monitor.span, len(expected), len(missing)


def _unjudged_points(subject: EvidenceSubject) -> EvidenceTable:
    """Count the points that were not judged, by metric; also by one that this release does not measure any more."""
    points = MetricPoint.objects.filter(
        ended_in(subject.period), model=subject.model, role="champion", version="", segment="", status__in=_UNJUDGED
    )  # fmt: skip
    rows = points.values("span", "measure", "metric", "status").annotate(points=Count("start"))
    judged = [
        row
        for row in rows.order_by("metric", "span")
        if span_of(subject.model, _KIND_OF_MEASURE.get(row["measure"], row["measure"])) == row["span"]
    ]
    names = dict(PointStatus.choices)
    return table(
        "Measured, but not judged",
        {"metric": "Metric", "why": "Why", "points": "Values, one a window and feature"},
        ((title_of(row["metric"]), names[row["status"]], row["points"]) for row in judged),
    )


# -- references and what is off ----------------------------------------------------------------------------------------
def _features_without_reference(subject: EvidenceSubject) -> EvidenceTable:
    """List the features that the champion declares or that were logged, and that its reference lacks."""
    return table(
        "Features without a reference",
        {"version": "Version", "feature": "Feature", "why": "Why"},
        _missing_features(subject),
    )


def _missing_features(subject: EvidenceSubject) -> Iterator[tuple[Cell, ...]]:
    model = subject.model
    champion = model.deployment.champion
    if champion is None:
        return
    declared = [feature.name for feature in signature_of(champion).features]
    seen = model.feature_profiles.order_by("feature").values_list("feature", flat=True)
    names = list(dict.fromkeys([*declared, *seen]))
    if not references_in_force(model):
        for name in names:
            yield champion.version, name, "no reference is in use"
        return
    last = windows(Period(subject.period.end - _DAY, subject.period.end), "day")
    loaded = reference_in_use(model=model, version_id=champion.pk, window=next(last))
    if loaded is None:
        for name in names:
            yield champion.version, name, "the reference does not judge the end of the period"
        return
    for name in names:
        if name not in loaded.summary.features:
            yield champion.version, name, "the reference has no such column"


def _switched_off(subject: EvidenceSubject) -> EvidenceTable:
    model = subject.model
    kinds = {one.kind for one in model.monitors.filter(enabled=True)}
    off: Sequence[tuple[str, str]] = [
        *(("monitor", kind.label) for kind in MonitorKind if kind not in kinds),
        *(("rule", name) for name in model.rules.filter(enabled=False).order_by("name").values_list("name", flat=True)),
    ]  # fmt: skip
    return table(
        "Switched off, or absent, when this pack is made",
        {"what": "What", "name": "Name"},
        off,
    )


def _silences(subject: EvidenceSubject) -> EvidenceTable:
    found = Silence.objects.filter(
        Q(model=subject.model) | Q(model=None),
        project=subject.model.project,
        start__lt=subject.period.end,
        end__gt=subject.period.start,
    ).order_by("start", "pk")
    return table(
        "Silences: notifications that were muted, while incidents still opened",
        {
            "start": "From", "end": "To", "of": "Of", "matchers": "Only with", "reason": "Reason",
            "created_by": "By", "ended_by": "Ended by",
        },
        (
            (
                one.start, one.end, "this model" if one.model_id else "all models", one.matchers_text or None,
                one.reason, one.created_by, one.ended_by or None,
            )
            for one in found[:MAX_TABLE_ROWS]
        ),
        total=found.count(),
    )  # fmt: skip
