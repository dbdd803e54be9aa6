"""What the API answers about metric points, drift, changes and segments."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, Self, TypedDict

from msgspec import UNSET, UnsetType, field

from driftline.base.http.responses import ResponseBody, Time, one_of
from driftline.base.periods import Period
from monitors.definitions.models import MonitorKind
from monitors.metrics.catalogue import Metric, SubjectKind
from monitors.metrics.limits import STATUSES
from monitors.metrics.rows.changed_examples import ChangedExample, ChangedExamples
from monitors.metrics.rows.segment_search import findings_of, growth_of
from monitors.metrics.rows.value_losses import ValueLosses
from monitors.metrics.store.models import ChangePoint, Detector, MetricPoint, SegmentSearch
from monitors.stats.causes.value_losses import ValueLoss
from monitors.stats.segments.conditions import RowCondition
from monitors.stats.segments.growth import GrownSegment
from monitors.stats.segments.search import FoundSegment


class MetricOut(ResponseBody, frozen=True):
    """A metric: what it measures, in which `unit`, which direction is worse, and the `steps` that it has points of."""

    name: str
    kind: Annotated[str, one_of(MonitorKind)]
    title: str
    unit: str
    lower_is_better: bool
    subject_kind: Annotated[str, one_of(SubjectKind)]
    steps: Sequence[str]

    @classmethod
    def of(cls, metric: Metric) -> Self:
        return cls(
            name=metric.name,
            kind=metric.kind,
            title=metric.title,
            unit=metric.unit,
            lower_is_better=metric.lower_is_better,
            subject_kind=metric.subject,
            steps=metric.steps,
        )


class PointOut(ResponseBody, frozen=True):
    """A metric in one window; `lower` and `upper` bound it at 95 %.

    `threshold` is the limit that speaks, the `rule`'s or, where that is null, the calibrated one, which `detail`
    explains. `since` is when the unbroken run beyond it began.
    """

    start: Time
    end: Time
    metric: str
    feature: str
    subject_kind: Annotated[str, one_of(SubjectKind)]
    segment: str
    role: str
    version: str
    value: float | None
    n: int
    lower: float | None
    upper: float | None
    threshold: float | None
    status: Annotated[str, one_of(STATUSES)]
    is_beyond: bool
    rule: str | None
    since: Time | None
    detail: dict[str, Any] | None
    revision: int

    @classmethod
    def of(cls, point: MetricPoint) -> Self:
        """Write a point that was judged (`limits.PointJudge`)."""
        return cls(
            start=point.start,
            end=point.end,
            metric=point.metric,
            feature=point.feature,
            subject_kind=point.subject_kind,
            segment=point.segment,
            role=point.role,
            version=point.version,
            value=point.value,
            n=point.n,
            lower=point.lower,
            upper=point.upper,
            threshold=point.threshold,
            status=point.status,
            is_beyond=point.is_beyond,
            rule=point.rule or None,
            since=point.since,
            detail=point.detail,
            revision=point.revision,
        )


class ChangePointOut(ResponseBody, frozen=True):
    """A version's error changed: `at` is the start of the first window after it; counts are of windows."""

    at: Time
    noticed_at: Time
    detector: Annotated[str, one_of(Detector)]
    error: Annotated[str, one_of(ChangePoint.Error)]
    span: str
    segment: str
    role: str
    version: str
    before: float
    after: float
    n_before: int
    n_after: int

    @classmethod
    def of(cls, change: ChangePoint) -> Self:
        return cls(
            at=change.at,
            noticed_at=change.noticed_at,
            detector=change.detector,
            error=change.error,
            span=change.span,
            segment=change.segment,
            role=change.role,
            version=change.version,
            before=change.before,
            after=change.after,
            n_before=change.n_before,
            n_after=change.n_after,
        )


# -- drift -------------------------------------------------------------------------------------------------------------
class WindowBounds(TypedDict):
    """The half-open interval that was compared."""

    start: datetime
    end: datetime


class ComparedFeature(TypedDict):
    """A feature's statistics by name, and what they decide together against the reference.

    Each has value, threshold, `is_beyond`, status, rule and since, as the point of that window has, and why.
    """

    feature: str
    statistics: dict[str, dict[str, Any]]
    n: int
    decision: str
    share: NotRequired[float]


class WrongTypes(TypedDict):
    """A feature with values of the wrong type."""

    feature: str
    rows: int
    share: float


class ImpossibleValues(TypedDict):
    """A feature with values that it cannot have, or hardly: the furthest one, in how many rows, and what is allowed."""

    feature: str
    kind: Literal["impossible", "implausible"]
    rows: int
    share: float
    value: float
    least: float
    most: float


class JointComparison(TypedDict):
    """All features compared together on the newest day that was, at most a week before the period.

    `why` says why that is no day of the period, or that there is none.
    """

    decision: str
    why: str
    items: list[dict[str, Any]]


class DriftOut(ResponseBody, frozen=True):
    """A period compared with the reference, one item a feature; `share` is its part of the blame."""

    window: WindowBounds
    n: int
    reference: dict[str, Any] | None
    together: JointComparison
    wrong_type: list[WrongTypes]
    impossible: list[ImpossibleValues]
    items: list[ComparedFeature]
    note: str
    next: None


class EvidentlyDriftOut(ResponseBody, frozen=True):
    """A period compared with the reference by the tests that Evidently takes by default."""

    n: int
    reference: dict[str, Any] | None
    drifted_share: float
    decision: str
    items: list[ComparedFeature]
    window: WindowBounds
    note: str
    next: None


# -- losses and segments -----------------------------------------------------------------------------------------------
class ValueLossOut(ResponseBody, frozen=True):
    """The `n` rows that meet a condition, and their mean loss; bounds at 95 %, null of too few rows."""

    name: str
    condition: RowCondition
    n: int
    mean: float
    lower: float | None
    upper: float | None

    @classmethod
    def of(cls, loss: ValueLoss) -> Self:
        return cls(
            name=str(loss.condition),
            condition=loss.condition,
            n=loss.n,
            mean=loss.mean,
            lower=loss.lower,
            upper=loss.upper,
        )


class LossesOut(ResponseBody, frozen=True):
    """What labelled rows of a period lost by the values of a feature; `note` is why nothing is there."""

    feature: str
    loss: str
    start: Time
    end: Time
    n: int
    mean: float | None
    note: str
    items: list[ValueLossOut]
    next: None

    @classmethod
    def of(cls, losses: ValueLosses, feature: str, window: Period) -> Self:
        return cls(
            feature=feature,
            loss=losses.loss,
            start=window.start,
            end=window.end,
            n=losses.n,
            mean=losses.mean,
            note=losses.reason,
            items=[ValueLossOut.of(loss) for loss in losses.values],
            next=None,
        )


class NearestExampleOut(ResponseBody, frozen=True):
    """A row of the reference: the prediction `id` of the log, or the `row` of its file, counted from 1.

    `thumbnail` is a PNG as base64, where one is kept.
    """

    id: str | None
    row: int | None
    timestamp: Time | None
    distance: float
    thumbnail: str | None


class ChangedExampleOut(ResponseBody, frozen=True):
    """A prediction unlike the reference; distances are in units of what is usual within the reference.

    `from_reference` and `from_window` reach to its fifth nearest row there; `nearest` are the first three of them.
    """

    id: str
    timestamp: Time
    prediction: str | float | None
    label: str | None
    from_reference: float
    from_window: float
    nearest: list[NearestExampleOut]
    thumbnail: str | None


class ChangedExamplesOut(ResponseBody, frozen=True):
    """Predictions of a period of which a vector is unlike the reference, most of all first.

    Of each side so many rows were compared; `note` is why nothing is there.
    """

    feature: str
    start: Time
    end: Time
    rows: int
    reference_rows: int
    note: str
    items: list[ChangedExampleOut]
    next: None

    @classmethod
    def of(cls, found: ChangedExamples, feature: str, window: Period) -> Self:
        return cls(
            feature=feature,
            start=window.start,
            end=window.end,
            rows=found.rows,
            reference_rows=found.reference_rows,
            note=found.note,
            items=[_changed_example(one) for one in found.items],
            next=None,
        )


def _changed_example(one: ChangedExample) -> ChangedExampleOut:
    return ChangedExampleOut(
        id=one.prediction_id,
        timestamp=one.time,
        prediction=one.prediction,
        label=one.label,
        from_reference=one.from_reference,
        from_window=one.from_window,
        nearest=[
            NearestExampleOut(row.prediction_id, row.row, row.time, row.distance, row.thumbnail)
            for row in one.nearest
        ],
        thumbnail=one.thumbnail,
    )


class FoundSegmentOut(ResponseBody, frozen=True, kw_only=True):
    """A segment that got worse, or by drift one that grew; `segment` names it on other routes where that is possible.

    `inside`, `outside`, `harm` and `harm_lower` are of a search by performance alone.
    """

    name: str
    segment: str | None
    conditions: tuple[RowCondition, ...]
    n: int
    inside: float | UnsetType = UNSET
    outside: float | UnsetType = UNSET
    usual: float | None
    excess: float
    lower: float
    upper: float
    p_value: float
    harm: float | UnsetType = UNSET
    harm_lower: float | UnsetType = UNSET
    share: float | None

    @classmethod
    def of(cls, found: FoundSegment | GrownSegment) -> Self:
        first = found.conditions[0]
        is_value = len(found.conditions) == 1 and first.value is not None
        by_loss = found if isinstance(found, FoundSegment) else None
        return cls(
            name=found.name,
            segment=f"{first.feature}:{first.value}" if is_value else None,
            conditions=found.conditions,
            n=found.n,
            inside=by_loss.inside if by_loss else UNSET,
            outside=by_loss.outside if by_loss else UNSET,
            usual=found.usual,
            excess=found.excess,
            lower=found.lower,
            upper=found.upper,
            p_value=found.p_value,
            harm=by_loss.harm if by_loss else UNSET,
            harm_lower=by_loss.harm_lower if by_loss else UNSET,
            share=found.share,
        )


class SegmentSearchOut(ResponseBody, frozen=True):
    """A search and what it found, the most harmful segment first; `loss` and what it alone has are null by drift.

    By drift `onset` is the day on which some segment began to have another share: rows before it were left out.
    """

    id: int
    state: Annotated[str, one_of(SegmentSearch.State)]
    error: str | None
    start: Time = field(name="from")
    end: Time = field(name="to")
    by: Annotated[str, one_of(["performance", "drift"])]
    loss: str | None
    n: int | None
    n_before: int | None
    n_usual: int | None
    compared_with: str | None
    onset: Time | None
    mean: float | None
    mean_before: float | None
    tried: int | None
    items: list[FoundSegmentOut]
    requested_at: Time
    requested_by: str

    @classmethod
    def of(cls, search: SegmentSearch) -> Self:
        findings, growth = findings_of(search), growth_of(search)
        items = findings.found.found if findings else growth.found.found if growth else ()
        found = findings or growth
        return cls(
            id=search.pk,
            state=search.state,
            error=search.error or None,
            start=search.start,
            end=search.end,
            by="performance" if search.loss else "drift",
            loss=search.loss or None,
            n=found.found.n if found else None,
            n_before=findings.n_before if findings else None,
            n_usual=growth.n_usual if growth else None,
            compared_with=growth.usual if growth else None,
            onset=growth.onset if growth else None,
            mean=findings.found.mean if findings else None,
            mean_before=findings.found.usual_mean if findings else None,
            tried=found.found.tried if found else None,
            items=[FoundSegmentOut.of(one) for one in items],
            requested_at=search.requested_at,
            requested_by=search.requested_by,
        )
