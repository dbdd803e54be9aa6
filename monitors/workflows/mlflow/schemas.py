"""What the API answers about a model's connection to MLflow."""

from typing import Annotated, Self

from django.conf import settings

from driftline.base.http.responses import ResponseBody, Time, one_of
from monitors.workflows.mlflow.models import MlflowConnection, MlflowReport, MlflowVersion
from monitors.workflows.mlflow.webhooks import WebhookOutcome


class MlflowConnectionOut(ResponseBody, frozen=True):
    """What a model follows, without its secrets, and how the last question to MLflow went.

    `webhook_secret` is null but in the answer that made it.
    """

    url: str
    registered_model: str
    alias: str
    polls: bool
    has_secret: bool
    webhook_url: str
    webhook_secret: str | None
    webhook_at: Time | None
    polled_at: Time | None
    poll_error: str | None
    alias_version: str | None

    @classmethod
    def of(cls, connection: MlflowConnection, webhook_secret: str = "") -> Self:
        return cls(
            url=connection.url,
            registered_model=connection.registered_model,
            alias=connection.alias,
            polls=connection.polls,
            has_secret=bool(connection.secret),
            webhook_url=webhook_url(connection),
            webhook_secret=webhook_secret or None,
            webhook_at=connection.webhook_at,
            polled_at=connection.polled_at,
            poll_error=connection.poll_error or None,
            alias_version=connection.alias_version or None,
        )


def webhook_url(connection: MlflowConnection) -> str:
    """The address to which MLflow sends webhooks."""
    return f"{settings.PUBLIC_URL}/api/v1/integrations/mlflow/{connection.webhook_token}"


class MlflowReportOut(ResponseBody, frozen=True):
    """Whether MLflow has heard what became of a version; `error` says why not yet, or not at all."""

    state: Annotated[str, one_of(MlflowReport.State)]
    error: str | None


class MlflowVersionOut(ResponseBody, frozen=True):
    """A version of MLflow; `version` and `run` are those of Driftline, `error` says why it waits or failed."""

    number: str
    registered_model: str
    url: str
    state: Annotated[str, one_of(MlflowVersion.State)]
    error: str | None
    version: str | None
    run: int | None
    report: MlflowReportOut | None
    created_at: Time

    @classmethod
    def of(cls, taken: MlflowVersion) -> Self:
        report = getattr(taken, "report", None)
        return cls(
            number=taken.number,
            registered_model=taken.registered_model,
            url=taken.page,
            state=taken.state,
            error=taken.error or None,
            version=taken.version.version if taken.version else None,
            run=taken.run_id,
            report=MlflowReportOut(report.state, report.error or None) if report else None,
            created_at=taken.created_at,
        )


class MlflowRetryOut(ResponseBody, frozen=True):
    """How many versions and reports that failed are tried again."""

    retried: int


class WebhookAnswer(ResponseBody, frozen=True):
    """What became of a webhook, and why."""

    outcome: Annotated[str, one_of(WebhookOutcome)]
    detail: str
