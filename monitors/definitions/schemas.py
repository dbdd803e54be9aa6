"""What the API answers about references, what is expected of features, and segments."""

from typing import Annotated, Any, NotRequired, Self, TypedDict

from msgspec import UNSET, UnsetType, field

from driftline.base.http.responses import ResponseBody, Time, one_of
from inference.registry.selectors import signature_of
from monitors.definitions.models import Monitor, MonitorKind, Reference, Segment
from monitors.definitions.monitors import AUTO


# -- references --------------------------------------------------------------------------------------------------------
class ChosenReferenceOut(ResponseBody, frozen=True):
    """What was chosen as a reference; `from` to `gap_days` are there where its kind has them."""

    id: int
    version: str
    kind: Annotated[str, one_of(Reference.Kind)]
    start: Time | UnsetType = field(name="from", default=UNSET)
    end: Time | UnsetType = field(name="to", default=UNSET)
    days: int | UnsetType = UNSET
    gap_days: int | UnsetType = UNSET
    weeks: int | UnsetType = UNSET

    @classmethod
    def of(cls, reference: Reference, **more: Any) -> Self:
        """Write a reference, and `more` fields of a subclass."""
        kind, length = reference.kind, UNSET if reference.length is None else reference.length
        is_period = kind == Reference.Kind.PERIOD
        is_trailing = kind == Reference.Kind.TRAILING
        return cls(
            id=reference.pk,
            version=reference.version.version,
            kind=kind,
            start=reference.start if is_period and reference.start else UNSET,
            end=reference.end if is_period and reference.end else UNSET,
            days=length if is_trailing else UNSET,
            gap_days=reference.gap if is_trailing else UNSET,
            weeks=length if kind == Reference.Kind.SAME_HOURS else UNSET,
            **more,
        )


class ReferenceOut(ChosenReferenceOut, frozen=True, kw_only=True):
    """A reference; `rows`, `columns` and what follows from them are of a file.

    `performance` holds mean, lower and upper of each metric over the days of the file, and `importance` the permutation
    importance of each feature.
    """

    state: Annotated[str, one_of(Reference.State)]
    error: str | None
    is_active: bool
    since: Time | None
    rows: int | None
    columns: list[str]
    positive_class: str | None
    start_of_rows: Time | None = field(name="start")
    end_of_rows: Time | None = field(name="end")
    sha256: str | None
    performance: dict[str, dict[str, float | None]]
    importance: dict[str, float | None]
    importance_note: str
    archived_at: Time | None
    created_at: Time

    @classmethod
    def of(cls, reference: Reference, **more: Any) -> Self:
        dataset = reference.dataset
        return super().of(
            reference,
            state=reference.state,
            error=reference.error or None,
            is_active=reference.is_active,
            since=reference.since,
            rows=dataset.rows if dataset else None,
            columns=dataset.columns if dataset else [],
            positive_class=signature_of(reference.version).positive_class,
            start_of_rows=dataset.start if dataset else None,
            end_of_rows=dataset.end if dataset else None,
            sha256=dataset.sha256 if dataset else None,
            performance=reference.performance,
            importance=reference.importance,
            importance_note=reference.importance_note,
            archived_at=reference.archived_at,
            created_at=reference.created_at,
            **more,
        )


# -- monitors ----------------------------------------------------------------------------------------------------------
class MonitorOut(ResponseBody, frozen=True):
    """A monitor: `span` is auto where its windows follow the traffic, and `judged_span` what they are now.

    `usual_rows` is the median of its newest windows with rows: of performance the labelled rows, where enough of the
    rows have a label. `rule_spans` are what rules judge by beside its own.
    """

    kind: Annotated[str, one_of(MonitorKind)]
    enabled: bool
    span: str
    judged_span: str
    rule_spans: list[str]
    min_rows: int
    min_label_coverage: float
    usual_rows: int | None

    @classmethod
    def of(cls, monitor: Monitor, usual_rows: int | None) -> Self:
        return cls(
            kind=monitor.kind,
            enabled=monitor.enabled,
            span=monitor.span if monitor.is_span_chosen else AUTO,
            judged_span=monitor.span,
            rule_spans=monitor.rule_spans,
            min_rows=monitor.min_rows,
            min_label_coverage=monitor.min_label_coverage,
            usual_rows=usual_rows,
        )


# -- features ----------------------------------------------------------------------------------------------------------
class LearntColumn(TypedDict):
    """What the reference shows of a feature: of a number its range, else its categories, the most frequent first."""

    rows: int
    missing_share: float
    least: NotRequired[float | None]
    most: NotRequired[float | None]
    categories: NotRequired[list[str]]
    distinct: NotRequired[int]
    is_exact: NotRequired[bool]


class ExpectedColumn(TypedDict):
    """What a feature should be; null is not said."""

    least: float | None
    most: float | None
    categories: list[str] | None
    missing_share: float | None
    tolerance: float


class FeatureSchema(TypedDict):
    """A feature, what the champion's reference shows of it, and what is expected of it."""

    feature: str
    kind: str
    learnt: LearntColumn | None
    expected: ExpectedColumn | None


# -- segments ----------------------------------------------------------------------------------------------------------
class SegmentConditionOut(ResponseBody, frozen=True):
    """What a row's value has to be, of a feature or a tag; what a condition does not say is not there."""

    feature: str | UnsetType = UNSET
    value: str | UnsetType = UNSET
    lower: float | UnsetType = UNSET
    upper: float | UnsetType = UNSET
    is_missing: bool | UnsetType = UNSET
    tag: str | UnsetType = UNSET


class SegmentOut(ResponseBody, frozen=True):
    """A named segment; `since` is when it was declared, or its conditions were changed."""

    id: int
    name: str
    conditions: list[SegmentConditionOut]
    since: Time

    @classmethod
    def of(cls, segment: Segment) -> Self:
        return cls(
            id=segment.pk,
            name=segment.name,
            conditions=[
                SegmentConditionOut(
                    **{
                        name: value
                        for name, value in condition.items()
                        if value not in ("", None) and value is not False
                    }
                )
                for condition in segment.conditions
            ],
            since=segment.since,
        )
