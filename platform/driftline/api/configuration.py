"""The configuration of a project as one document over HTTP."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.clock import now
from driftline.base.http.request_values import media_type, read_body
from driftline.base.http.responses import files
from driftline.base.yaml_text import write_yaml
from driftline.operations.configuration.applying import apply
from driftline.operations.configuration.differences import differences
from driftline.operations.configuration.document import Configuration, read_configuration
from driftline.operations.configuration.exporting import export
from driftline.operations.configuration.planning import plan, things_of
from driftline.operations.configuration.schemas import AppliedOut, ChangeOut, DifferencesOut, PlanOut
from driftline.operations.configuration.yaml_text import MAX_TEXT_BYTES

router = Router(tags=["configuration"])

YAML = "application/yaml"
_KINDS = (YAML, "application/x-yaml", "text/yaml", "application/json")
_DOCUMENT: dict[str, Any] = {
    "requestBody": {"required": True, "content": {YAML: {"schema": {"type": "string"}}}},
}


@router.get("/config", auth=Scoped(Scope.READ), openapi_extra=files(YAML))
def read_config(request: HttpRequest) -> HttpResponse:
    """Download the configuration of the project as YAML: models with their rules, channels and sources without
    secrets, silences.

    Applied to an empty installation it makes the same again, but for what is trained and logged.
    """
    caller = caller_of(request)
    text = write_yaml(export(caller.project, with_targets=SCOPE_OF["channel"] in caller.scopes))
    return HttpResponse(
        text,
        content_type=f"{YAML}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{caller.project.slug}.yaml"'},
    )


@router.post("/config/plan", auth=Scoped(Scope.READ), openapi_extra=_DOCUMENT, response=PlanOut)
def plan_config(request: HttpRequest) -> PlanOut:
    """Return what applying a document would create, change and delete; nothing is done.

    What the document does not mention stays. Of a list that it has, such as the rules of a model, it has all.
    """
    return PlanOut(
        changes=[ChangeOut.of(one) for one in plan(caller_of(request).project, _document(request))]
    )


@router.post(
    "/config/apply", auth=Scoped(SCOPE_OF["configuration"]), openapi_extra=_DOCUMENT, response=AppliedOut
)
def apply_config(request: HttpRequest) -> AppliedOut:
    """Do what `plan` lists, in one transaction: where one item is refused, nothing is applied."""
    caller, moment = caller_of(request), now()
    document = _document(request)
    changes = apply(
        project=caller.project,
        document=document,
        actor=caller.actor,
        now=moment,
        check=lambda planned: caller.check_rights(things_of(planned)),
    )
    return AppliedOut(applied_at=moment, changes=[ChangeOut.of(one) for one in changes])


@router.get("/config/differences", auth=Scoped(Scope.READ), response=DifferencesOut)
def read_differences(request: HttpRequest) -> DifferencesOut:
    """List what was edited since a document was applied: what applying it again would do."""
    found = differences(caller_of(request).project)
    if found is None:
        return DifferencesOut(applied_at=None, applied_by=None, changes=[])
    applied, changes = found
    return DifferencesOut(
        applied_at=applied.applied_at,
        applied_by=applied.applied_by,
        changes=[ChangeOut.of(one) for one in changes],
    )


def _document(request: HttpRequest) -> Configuration:
    media_type(request, _KINDS)
    return read_configuration(read_body(request, cap=MAX_TEXT_BYTES))
