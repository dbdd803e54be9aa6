"""Over HTTP: a model's connection to MLflow, the versions that came, and MLflow's webhooks."""

from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.clock import now
from driftline.base.http.bodies import Body
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.request_values import read_body
from driftline.base.http.responses import Page
from inference.registry.models import Model
from inference.registry.selectors import get_model
from monitors.workflows.mlflow import services
from monitors.workflows.mlflow.schemas import (
    MlflowConnectionOut,
    MlflowRetryOut,
    MlflowVersionOut,
    WebhookAnswer,
)
from monitors.workflows.mlflow.selectors import versions_from_mlflow
from monitors.workflows.mlflow.webhooks import MAX_BYTES, receive_webhook

router = Router(tags=["workflows"])
_CHANGES = Scoped(SCOPE_OF["model.workflow"])


class MlflowConnectionIn(Body):
    """What to follow. `secret` is a token, or `user:password`; left out it stays, and `""` removes it."""

    url: str = Field(max_length=500)
    registered_model: str = Field(max_length=250)
    alias: str = Field("challenger", max_length=255)
    polls: bool = True
    secret: str | None = Field(None, max_length=4096)


@router.get("/models/{name}/mlflow", auth=Scoped(Scope.READ), response=MlflowConnectionOut)
def read_mlflow(request: HttpRequest, name: str) -> MlflowConnectionOut:
    """Read which registered model of MLflow a model follows, and how the last question to MLflow went."""
    return MlflowConnectionOut.of(services.get_connection(_model(request, name)))


@router.put("/models/{name}/mlflow", auth=_CHANGES, response=MlflowConnectionOut)
def connect_mlflow(request: HttpRequest, name: str, body: MlflowConnectionIn) -> MlflowConnectionOut:
    """Follow a registered model of MLflow: the version that gets the alias is compared with the champion.

    The first answer holds the secret that webhooks are signed with, and no later one does.
    """
    connection, secret = services.connect(
        model=_model(request, name), actor=caller_of(request).actor, **body.model_dump()
    )
    return MlflowConnectionOut.of(connection, secret)


@router.delete("/models/{name}/mlflow", auth=_CHANGES, response={204: None})
def disconnect_mlflow(request: HttpRequest, name: str) -> Status[None]:
    """Follow nothing any more; what came stays."""
    connection = services.get_connection(_model(request, name))
    services.disconnect(connection=connection, actor=caller_of(request).actor)
    return Status(204, None)


@router.post("/models/{name}/mlflow/rotate-secret", auth=_CHANGES, response=MlflowConnectionOut)
def rotate_mlflow_secret(request: HttpRequest, name: str) -> MlflowConnectionOut:
    """Make the secret that webhooks are signed with anew; the one before is taken too for 24 hours."""
    connection = services.get_connection(_model(request, name))
    secret = services.rotate_webhook_secret(connection=connection, actor=caller_of(request).actor, now=now())
    return MlflowConnectionOut.of(connection, secret)


@router.post("/models/{name}/mlflow/retry", auth=_CHANGES, response=MlflowRetryOut)
def retry_mlflow(request: HttpRequest, name: str) -> MlflowRetryOut:
    """Ask MLflow at once, and try again what failed."""
    connection = services.get_connection(_model(request, name))
    return MlflowRetryOut(services.retry(connection=connection, actor=caller_of(request).actor))


@router.get("/models/{name}/mlflow/versions", auth=Scoped(Scope.READ), response=Page[MlflowVersionOut])
def list_mlflow_versions(
    request: HttpRequest, name: str, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[MlflowVersionOut]:
    """List the versions that came from MLflow, newest first, with what became of each."""
    versions = versions_from_mlflow(_model(request, name))
    return page(versions, MlflowVersionOut.of, by=("-pk",), cursor=cursor, limit=limit)


@router.post("/integrations/mlflow/{token}", auth=None, response=WebhookAnswer)
def receive_mlflow_webhook(request: HttpRequest, token: str) -> WebhookAnswer:
    """Take a webhook of MLflow, which its signature lets in; it says that it is time to ask MLflow.

    `model_version_alias.created` counts, for the registered model and the alias that are followed, and each delivery
    once.
    """
    outcome, detail = receive_webhook(
        token=token, headers=request.headers, body=read_body(request, cap=MAX_BYTES), now=now()
    )
    return WebhookAnswer(outcome, detail)


def _model(request: HttpRequest, name: str) -> Model:
    return get_model(project=caller_of(request).project, name=name)
