"""Writes of a model's connection to MLflow: make, change and end it, make its webhook's secret anew, try again."""

import re
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F

from driftline.base.accounts.services import record_audit
from driftline.base.errors import invalid, not_found
from driftline.base.keys.secrets_at_rest import encrypt
from driftline.base.outbound.secrecy import seal
from driftline.base.outbound.targets import check_target
from driftline.base.strict_json import printable
from driftline.base.work.task_queue import Task, enqueue
from inference.registry.models import Model
from monitors.workflows.mlflow.following import ask_now
from monitors.workflows.mlflow.models import MlflowConnection, MlflowReport, MlflowVersion
from monitors.workflows.mlflow.reporting import CHAMPION

SECRET_OVERLAP = timedelta(hours=24)
"""How long webhooks with the secret before are taken too, after it was rotated."""
FOLLOWED = ("url", "registered_model", "alias")
SETTINGS = (*FOLLOWED, "polls")
MAX_URL_LETTERS = 200
MAX_NAME_LETTERS = 100
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,100}")
_NUMBERED = re.compile(r"[vV]\d+")


def get_connection(model: Model) -> MlflowConnection:
    """Find a model's connection; raises Problem 404 where it has none."""
    connection = MlflowConnection.objects.filter(model=model).select_related("model__project").first()
    if connection is None:
        raise not_found("MLflow connection")
    return connection


def connect(
    *,
    model: Model,
    actor: str,
    url: str,
    registered_model: str,
    alias: str = "challenger",
    polls: bool = True,
    secret: str | None = None,
) -> tuple[MlflowConnection, str]:
    """Follow a registered model; work that failed before is tried again.

    Returns the connection and its webhook's secret where that is new, which is shown once. Without `secret` the one
    that is stored stays, and is never sent to another address. Raises Problem (422) for what could never work.
    """
    values: dict[str, Any] = {
        "url": checked_url(url),
        "registered_model": _checked_name(registered_model),
        "alias": _checked_alias(alias),
        "polls": polls,
    }
    with transaction.atomic():
        known = MlflowConnection.objects.select_for_update().filter(model=model).first()
        connection, shown = (known, "") if known else _new_connection(model)
        before = {name: getattr(known, name) for name in SETTINGS} if known else None
        if secret is not None:
            connection.secret = seal(secret, "/secret")
        elif connection.url != values["url"]:
            connection.secret = b""
        if any(getattr(connection, name) != values[name] for name in FOLLOWED):
            connection.alias_version, connection.polled_at = "", None
        for name, value in values.items():
            setattr(connection, name, value)
        connection.poll_error = ""
        connection.save()
        sent = {} if secret is None else {"secret": "changed"}
        _record(connection, actor, "mlflow.connect", before=before, after={**values, **sent})
        _begin_again(connection)
        ask_now(connection)
    return connection, shown


def disconnect(*, connection: MlflowConnection, actor: str) -> None:
    """Follow nothing any more; the versions that came stay, and are not taken a second time."""
    with transaction.atomic():
        _record(connection, actor, "mlflow.disconnect", before=_settings(connection), after=None)
        waiting = MlflowVersion.objects.filter(model=connection.model, state=MlflowVersion.State.WAITING)
        waiting.update(state=MlflowVersion.State.SUPERSEDED, error="")
        connection.delete()


def rotate_webhook_secret(*, connection: MlflowConnection, actor: str, now: datetime) -> str:
    """Make the webhook's secret anew and return it, shown once; the one before is taken too for `SECRET_OVERLAP`."""
    secret, until = _new_secret(), now + SECRET_OVERLAP
    with transaction.atomic():
        MlflowConnection.objects.filter(pk=connection.pk).update(
            previous_webhook_secret=F("webhook_secret"),
            previous_webhook_secret_until=until,
            webhook_secret=encrypt(secret),
        )
        after = {"previous_valid_until": until.isoformat()}
        _record(connection, actor, "mlflow.rotate_secret", before=None, after=after)
    return secret


def retry(*, connection: MlflowConnection, actor: str) -> int:
    """Try again what failed, and ask MLflow at once; returns how many versions and reports failed."""
    with transaction.atomic():
        retried = _begin_again(connection)
        _record(connection, actor, "mlflow.retry", before=None, after={"retried": retried})
        ask_now(connection)
    return retried


def _begin_again(connection: MlflowConnection) -> int:
    """Schedule what failed, or is put off, to be worked on at once."""
    same = {"url": connection.url, "registered_model": connection.registered_model, "model": connection.model}
    versions = MlflowVersion.objects.filter(**same)
    reports = MlflowReport.objects.filter(**{f"taken__{name}": value for name, value in same.items()})
    enqueue(Task.LONG_WORK)
    put_off = {"lease_token": None, "lease_until__isnull": False}
    failed = 0
    for rows in (versions, reports):
        failed += rows.failed().begin_again(failures=0)
        rows.unfinished().filter(**put_off).begin_again(failures=0)
    return failed


def _new_connection(model: Model) -> tuple[MlflowConnection, str]:
    secret = _new_secret()
    connection = MlflowConnection(
        model=model, webhook_token=secrets.token_urlsafe(24), webhook_secret=encrypt(secret)
    )
    return connection, secret


def _new_secret() -> str:
    return secrets.token_urlsafe(32)


def _settings(connection: MlflowConnection) -> dict[str, Any]:
    return {name: getattr(connection, name) for name in SETTINGS}


def _record(connection: MlflowConnection, actor: str, action: str, *, before: Any, after: Any) -> None:
    model = connection.model
    record_audit(
        project=model.project, actor=actor, action=action, subject=model.name, before=before, after=after
    )


# -- what could never work ---------------------------------------------------------------------------------------------
def checked_url(url: str) -> str:
    """Return the address of a tracking server as it is called; raises Problem at /url."""
    checked = check_target(url.strip(), "/url").url.rstrip("/")
    if len(checked) > MAX_URL_LETTERS or "?" in checked or "#" in checked:
        raise invalid(
            "/url",
            f"Use the address of the tracking server alone, in up to {MAX_URL_LETTERS} characters, such as "
            "https://mlflow.example.com.",
        )
    return checked


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or len(name.encode()) > MAX_NAME_LETTERS or not name.isprintable() or set(name) & {"/", ":"}:
        raise invalid(
            "/registered_model",
            f"{printable(name)!r} is no name of a registered model; use 1 to {MAX_NAME_LETTERS} characters without "
            "'/' and ':'.",
        )
    return name


def _checked_alias(alias: str) -> str:
    alias = alias.strip()
    if not _ALIAS.fullmatch(alias) or _NUMBERED.fullmatch(alias) or alias == "latest":
        raise invalid(
            "/alias",
            f"{printable(alias)!r} is no alias of MLflow; use letters, digits, - and _, such as challenger.",
        )
    if alias == CHAMPION:
        raise invalid(
            "/alias", f"Driftline sets the alias {CHAMPION!r} itself; follow another, such as challenger."
        )
    return alias
