"""Custom metrics over HTTP."""

from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Caller, Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.errors import not_found
from driftline.base.http.bodies import Body
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.responses import Page
from inference.registry.selectors import get_model
from monitors.definitions.custom_metrics.preview import preview_metric
from monitors.definitions.custom_metrics.schemas import CustomMetricOut, CustomMetricPreviewOut
from monitors.definitions.custom_metrics.services import change_metric, define_metric, delete_metric
from monitors.definitions.models import CustomMetric

router = Router(tags=["monitoring"])

_MAX_SENT = 20_000
"""Characters; what is longer than an expression may be is refused in a sentence, up to here."""


class ExpressionBody(Body):
    expression: str = Field(
        max_length=_MAX_SENT, description="such as mean(amount * probability) where region == 'north'"
    )


class CustomMetricSettings(ExpressionBody):
    """What a custom metric is but for its name."""

    unit: str = Field("", max_length=1_000, description="such as EUR")
    lower_is_better: bool = False


class NewCustomMetric(CustomMetricSettings):
    name: str = Field(max_length=1_000)


class CustomMetricChanges(Body):
    expression: str | None = Field(None, max_length=_MAX_SENT)
    unit: str | None = Field(None, max_length=1_000)
    lower_is_better: bool | None = None


@router.get("/models/{name}/custom-metrics", auth=Scoped(Scope.READ), response=Page[CustomMetricOut])
def list_custom_metrics(
    request: HttpRequest, name: str, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[CustomMetricOut]:
    """List the metrics that people defined for a model."""
    model = get_model(project=caller_of(request).project, name=name)
    return page(model.custom_metrics.all(), CustomMetricOut.of, by=("pk",), cursor=cursor, limit=limit)


@router.post(
    "/models/{name}/custom-metrics",
    auth=Scoped(SCOPE_OF["custom_metric"]),
    response={201: CustomMetricOut},
)
def create_custom_metric(request: HttpRequest, name: str, body: NewCustomMetric) -> Status[CustomMetricOut]:
    """Define a metric; it is measured in every window and segment, of the past as far as rows are kept."""
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    return Status(
        201, CustomMetricOut.of(define_metric(model=model, actor=caller.actor, **body.model_dump()))
    )


@router.post(
    "/models/{name}/custom-metrics/evaluate", auth=Scoped(Scope.READ), response=CustomMetricPreviewOut
)
def evaluate_custom_metric(request: HttpRequest, name: str, body: ExpressionBody) -> CustomMetricPreviewOut:
    """Compute an expression over the newest rows, up to seven days and about 100,000 of them; nothing is saved."""
    model = get_model(project=caller_of(request).project, name=name)
    return CustomMetricPreviewOut.of(preview_metric(model=model, expression=body.expression))


@router.patch(
    "/models/{name}/custom-metrics/{int:custom_metric_id}",
    auth=Scoped(SCOPE_OF["custom_metric"]),
    response=CustomMetricOut,
)
def change_custom_metric(
    request: HttpRequest, name: str, custom_metric_id: int, body: CustomMetricChanges
) -> CustomMetricOut:
    """Change a metric: by another expression its points are measured again from the rows that are kept."""
    caller = caller_of(request)
    custom = _find(caller, name, custom_metric_id)
    changes = {
        field: value for field, value in body.model_dump(exclude_unset=True).items() if value is not None
    }
    change_metric(custom=custom, actor=caller.actor, **changes)
    return CustomMetricOut.of(custom)


@router.delete(
    "/models/{name}/custom-metrics/{int:custom_metric_id}",
    auth=Scoped(SCOPE_OF["custom_metric"]),
    response={204: None},
)
def delete_custom_metric(request: HttpRequest, name: str, custom_metric_id: int) -> Status[None]:
    """Stop measuring a metric and delete its points; refused (409) while a rule watches it."""
    caller = caller_of(request)
    delete_metric(custom=_find(caller, name, custom_metric_id), actor=caller.actor)
    return Status(204, None)


def _find(caller: Caller, name: str, custom_metric_id: int) -> CustomMetric:
    model = get_model(project=caller.project, name=name)
    custom: CustomMetric | None = (
        model.custom_metrics.select_related("model__project").filter(pk=custom_metric_id).first()
    )
    if custom is None:
        raise not_found("custom metric")
    return custom
