"""References, what is expected of features, and segments over HTTP."""

from typing import IO, Annotated, Any, cast

from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser
from ninja import Router
from ninja.params.functions import Query
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Caller, Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.errors import invalid, not_found
from driftline.base.http.bodies import Body, Moment
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.request_values import media_type
from driftline.base.http.responses import Page
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from inference.registry.selectors import get_model, get_version
from monitors.definitions import segments
from monitors.definitions.choosing import (
    GAP_DAYS,
    TRAILING_DAYS,
    WEEKS,
    ReferenceChoice,
    choose_reference,
)
from monitors.definitions.expectations import expect, schema_of
from monitors.definitions.models import Reference, Segment
from monitors.definitions.schemas import FeatureSchema, ReferenceOut, SegmentOut

router = Router(tags=["monitoring"])

CSV, FORM = "text/csv", "multipart/form-data"
PARQUET = ("application/vnd.apache.parquet", "application/octet-stream")
_FILE = {"schema": {"type": "string", "format": "binary"}}
_UPLOAD = {"requestBody": {"required": True, "content": {CSV: _FILE, PARQUET[0]: _FILE}}}


@router.put(
    "/models/{name}/reference",
    auth=Scoped(SCOPE_OF["reference"]),
    openapi_extra=_UPLOAD,
    response={202: ReferenceOut},
)
def put_reference(
    request: HttpRequest,
    name: str,
    version: str = Query("", max_length=64),
    replace: bool = False,
    positive_class: str = Query("", max_length=200),
) -> Status[ReferenceOut]:
    """Store the data that windows are compared with, as CSV or Parquet; the champion's when no version is named.

    Columns are the features, and optionally id, timestamp, label, prediction, probability or probability_<class>. A
    version that is answered elsewhere has the features of its newest file; where something depends on one that a new
    file lacks, that is listed (409) and `replace` confirms it. What is doubtful is refused: see `POST .../files`.
    `positive_class` is the class that the column probability is of; without it the rows of the first file show which.
    """
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    kind = media_type(request, (CSV, *PARQUET, FORM))
    stream, kind = _uploaded(request) if kind == FORM else (cast(IO[bytes], request), kind)
    dataset = store_reference(
        model=model,
        version=version or None,
        stream=stream,
        content_type=kind,
        actor=caller.actor,
        replace=replace,
        positive_class=positive_class,
    )
    reference = Reference.objects.filter(dataset=dataset).select_related("dataset", "version").latest("pk")
    return Status(202, ReferenceOut.of(reference))


class Choice(Body):
    """What windows are compared with from now on; each kind has fields of its own."""

    kind: str = Field(max_length=20, description="file, period, trailing or same_hours")
    version: str = Field("", max_length=64, description="the champion when empty")
    start: Moment | None = Field(
        None, alias="from", description="of a period: midnight UTC, 14 to 800 days before `to`"
    )
    end: Moment | None = Field(None, alias="to", description="of a period: midnight UTC")
    days: int | None = Field(None, description=f"of trailing: 14 to 180; {TRAILING_DAYS} where none is given")
    gap_days: int | None = Field(None, description=f"of trailing: 0 to 60; {GAP_DAYS} where none is given")
    weeks: int | None = Field(None, description=f"of same_hours: 14 to 52; {WEEKS} where none is given")

    def choice(self) -> ReferenceChoice:
        """Return the choice with what holds where nothing is said; raises Problem for fields of another kind."""
        is_trailing, is_same = self.kind == Reference.Kind.TRAILING, self.kind == Reference.Kind.SAME_HOURS
        for name, belongs in (("days", is_trailing), ("gap_days", is_trailing), ("weeks", is_same)):
            if getattr(self, name) is not None and not belongs:
                raise invalid(f"/{name}", f"A reference of this kind has no {name}.")
        length = (TRAILING_DAYS if self.days is None else self.days) if is_trailing else None
        if is_same:
            length = WEEKS if self.weeks is None else self.weeks
        gap = (GAP_DAYS if self.gap_days is None else self.gap_days) if is_trailing else 0
        return ReferenceChoice(self.kind, self.start, self.end, length, gap)


@router.post("/models/{name}/reference", auth=Scoped(SCOPE_OF["reference"]), response={201: ReferenceOut})
def choose(request: HttpRequest, name: str, body: Choice) -> Status[ReferenceOut]:
    """Compare windows with something else from the present day on; what was compared before stays.

    `period` is a fixed part of the log, `trailing` the days before each window, `same_hours` the same hours of the
    weeks before it, and `file` the newest file of the version.
    """
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    version = get_version(model=model, version=body.version) if body.version else model.deployment.champion
    if version is None:
        raise not_found("version")
    reference = choose_reference(model=model, version=version, choice=body.choice(), actor=caller.actor)
    reference.refresh_from_db()
    return Status(201, ReferenceOut.of(reference))


@router.get("/models/{name}/reference", auth=Scoped(Scope.READ), response=ReferenceOut)
def read_reference(request: HttpRequest, name: str, version: str = Query("", max_length=64)) -> ReferenceOut:
    """Read the newest reference of a version, or of the model when no version is named.

    `since` is the start of the first window that it judges, where another one judged those before; `rows`, `columns`
    and what follows from them are of a file.
    """
    model = get_model(project=caller_of(request).project, name=name)
    reference = _newest(model, version)
    if reference is None:
        raise not_found("reference")
    return ReferenceOut.of(reference)


class FeatureExpectation(Body):
    """What a feature should be; what is left out is not said. Nothing said at all is no expectation."""

    least: float | None = None
    most: float | None = None
    categories: list[str] | None = Field(None, max_length=1_000)
    missing_share: float | None = Field(None, description="share of rows that may lack it")
    tolerance: float = Field(0.0, description="share of rows that may be out of range or have another value")


class SchemaChanges(Body):
    features: dict[Annotated[str, Field(min_length=1, max_length=200)], FeatureExpectation | None] = Field(
        min_length=1, max_length=1_000, description="null: nothing is expected any more"
    )


@router.get("/models/{name}/schema", auth=Scoped(Scope.READ), response=Page[FeatureSchema])
def read_schema(request: HttpRequest, name: str) -> Page[FeatureSchema]:
    """List the features: what the champion's reference shows of each, and what is expected of it."""
    model = get_model(project=caller_of(request).project, name=name)
    return Page(items=schema_of(model), next=None)


@router.patch("/models/{name}/schema", auth=Scoped(SCOPE_OF["expectation"]), response=Page[FeatureSchema])
def change_schema(request: HttpRequest, name: str, body: SchemaChanges) -> Page[FeatureSchema]:
    """Return what the named features should be; the newest windows are judged by it again."""
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    changes = {
        feature: None if said is None else said.model_dump() for feature, said in body.features.items()
    }
    expect(model=model, changes=changes, actor=caller.actor)
    return Page(items=schema_of(model), next=None)


class SegmentCondition(Body):
    """What a row's value has to be: of a feature or a tag, and a value, a range or nothing at all."""

    feature: str = Field("", max_length=200)
    tag: str = Field("", max_length=200)
    value: str | None = Field(None, description="as text, also of a number")
    lower: float | None = Field(None, description="at least this")
    upper: float | None = Field(None, description="below this")
    is_missing: bool = False


class SegmentChanges(Body):
    conditions: list[SegmentCondition] = Field(max_length=100)

    def condition_fields(self) -> list[dict[str, Any]]:
        """Return the conditions as the services take them."""
        return [one.model_dump() for one in self.conditions]


class NewSegment(SegmentChanges):
    name: str = Field("", max_length=1_000, description="the conditions themselves when empty")


@router.post("/models/{name}/segments", auth=Scoped(SCOPE_OF["segment"]), response={201: SegmentOut})
def create_segment(request: HttpRequest, name: str, body: NewSegment) -> Status[SegmentOut]:
    """Look at the rows of which all conditions hold apart, under a name: up to 20 segments of up to 5 conditions.

    What the log still has is summarised again. `segment=<name>` names it on every other route.
    """
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    segment = segments.declare_segment(
        model=model, name=body.name, conditions=body.condition_fields(), actor=caller.actor
    )
    return Status(201, SegmentOut.of(segment))


@router.get("/models/{name}/segments", auth=Scoped(Scope.READ), response=Page[SegmentOut])
def list_segments(
    request: HttpRequest, name: str, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[SegmentOut]:
    """List a model's segments; the features of which each value is one stand on the model."""
    model = get_model(project=caller_of(request).project, name=name)
    return page(model.segments.all(), SegmentOut.of, by=("pk",), cursor=cursor, limit=limit)


@router.patch(
    "/models/{name}/segments/{int:segment_id}", auth=Scoped(SCOPE_OF["segment"]), response=SegmentOut
)
def change_segment(request: HttpRequest, name: str, segment_id: int, body: SegmentChanges) -> SegmentOut:
    """Set other conditions for a segment: its points are forgotten and measured again from what the log still has."""
    caller = caller_of(request)
    segment = _find_segment(caller, name, segment_id)
    segments.change_segment(segment=segment, conditions=body.condition_fields(), actor=caller.actor)
    return SegmentOut.of(segment)


@router.delete(
    "/models/{name}/segments/{int:segment_id}", auth=Scoped(SCOPE_OF["segment"]), response={204: None}
)
def remove_segment(request: HttpRequest, name: str, segment_id: int) -> Status[None]:
    """Stop looking at a segment and delete its points; refused (409) while a rule watches it."""
    caller = caller_of(request)
    segments.remove_segment(segment=_find_segment(caller, name, segment_id), actor=caller.actor)
    return Status(204, None)


def _find_segment(caller: Caller, name: str, segment_id: int) -> Segment:
    model = get_model(project=caller.project, name=name)
    segment: Segment | None = model.segments.select_related("model__project").filter(pk=segment_id).first()
    if segment is None:
        raise not_found("segment")
    return segment


def _newest(model: Model, version: str) -> Reference | None:
    references = Reference.objects.filter(model=model, archived_at=None).select_related("dataset", "version")
    if version:
        references = references.filter(version=get_version(model=model, version=version))
    return references.order_by("-pk").first()


def _uploaded(request: HttpRequest) -> tuple[IO[bytes], str]:
    """Read a form by hand: Django does so for POST only."""
    _, files = MultiPartParser(request.META, request, request.upload_handlers).parse()
    file = files.get("file")
    if file is None:
        raise invalid("/file", "The form has no part 'file'.", "missing_field")
    return file, file.content_type or ""
