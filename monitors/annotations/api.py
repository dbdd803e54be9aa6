"""Annotations over HTTP."""

from django.http import HttpRequest
from ninja import Router
from ninja.params.functions import Query
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Caller, Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.clock import now
from driftline.base.errors import invalid, not_found
from driftline.base.http.bodies import Body, Moment
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.request_values import bounds
from driftline.base.http.responses import Page
from inference.registry.selectors import get_model
from monitors.annotations import services
from monitors.annotations.models import LINK_LENGTH, TEXT_LENGTH, Annotation
from monitors.annotations.schemas import AnnotationOut

router = Router(tags=["monitoring"])


class AnnotationChanges(Body):
    start: Moment | None = Field(None, description="event time")
    end: Moment | None = Field(None, description="after the start; null: a moment")
    text: str = Field("", max_length=TEXT_LENGTH)
    link: str = Field("", max_length=LINK_LENGTH, description="http or https")


class NewAnnotation(Body):
    start: Moment = Field(description="event time")
    end: Moment | None = Field(None, description="after the start; null: a moment")
    text: str = Field(max_length=TEXT_LENGTH)
    link: str = Field("", max_length=LINK_LENGTH, description="http or https")


@router.post("/models/{name}/annotations", auth=Scoped(SCOPE_OF["annotation"]), response={201: AnnotationOut})
def create_annotation(request: HttpRequest, name: str, body: NewAnnotation) -> Status[AnnotationOut]:
    """Note something on all charts of a model: a moment or an interval of event time, a text and a link."""
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    annotation = services.create_annotation(model=model, actor=caller.actor, **body.model_dump())
    return Status(201, AnnotationOut.of(annotation))


@router.get("/models/{name}/annotations", auth=Scoped(Scope.READ), response=Page[AnnotationOut])
def list_annotations(
    request: HttpRequest,
    name: str,
    start: str = Query("", alias="from"),
    end: str = Query("", alias="to"),
    cursor: str = "",
    limit: int = PAGE_SIZE,
) -> Page[AnnotationOut]:
    """List a model's annotations, or those that touch a period, the newest in event time first."""
    model = get_model(project=caller_of(request).project, name=name)
    found = model.annotations.within(*bounds(start, end, now=now()))
    return page(found, AnnotationOut.of, by=("-start", "-pk"), cursor=cursor, limit=limit)


@router.patch(
    "/models/{name}/annotations/{int:annotation_id}",
    auth=Scoped(SCOPE_OF["annotation"]),
    response=AnnotationOut,
)
def change_annotation(
    request: HttpRequest, name: str, annotation_id: int, body: AnnotationChanges
) -> AnnotationOut:
    """Change the fields that are sent."""
    caller = caller_of(request)
    annotation = _find(caller, name, annotation_id)
    changes = body.given()
    if changes.get("start", annotation.start) is None:
        raise invalid("/start", "An annotation has a start; leave the field out to keep it.")
    services.change_annotation(annotation=annotation, changes=changes, actor=caller.actor)
    return AnnotationOut.of(annotation)


@router.delete(
    "/models/{name}/annotations/{int:annotation_id}",
    auth=Scoped(SCOPE_OF["annotation"]),
    response={204: None},
)
def delete_annotation(request: HttpRequest, name: str, annotation_id: int) -> Status[None]:
    """Take an annotation off the charts."""
    caller = caller_of(request)
    services.delete_annotation(annotation=_find(caller, name, annotation_id), actor=caller.actor)
    return Status(204, None)


def _find(caller: Caller, name: str, annotation_id: int) -> Annotation:
    model = get_model(project=caller.project, name=name)
    annotation: Annotation | None = (
        model.annotations.select_related("model__project").filter(pk=annotation_id).first()
    )
    if annotation is None:
        raise not_found("annotation")
    return annotation
