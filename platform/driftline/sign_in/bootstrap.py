"""The first user, project and token of an installation, made once and kept in the home's credentials file."""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import ApiToken, Project, User, digest_of
from driftline.base.accounts.services import create_project, create_token, record_audit
from driftline.base.clock import now
from driftline.base.durable_files import write_file

OPERATOR = "operator@driftline.local"
PROJECT = "default"


@dataclass(frozen=True)
class Credentials:
    """What a newcomer needs to get in: a login for people and a token for programs; None for what no longer works."""

    email: str | None
    password: str | None
    token: str | None


def bootstrap_home(home: Path) -> Credentials:
    """Make the operator, the `default` project and a token with every scope, once for a database.

    What people did with them since is not undone: a revoked token stays revoked and a changed password changed, also
    where the credentials file is lost. Returns what of the file still works.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "LOCK TABLE accounts_user IN SHARE ROW EXCLUSIVE MODE"
        )  # of two starts, one makes them
        if not (User.objects.exists() or Project.objects.exists()):
            made = _make_credentials()
            write_file(_file_of(home), json.dumps(asdict(made), indent=2).encode(), mode=0o600)
            return made
    return working_credentials(home)


def working_credentials(home: Path) -> Credentials:
    """Return what of the home's credentials file still lets somebody in."""
    try:
        kept = Credentials(**json.loads(_file_of(home).read_text()))
    except FileNotFoundError:
        return Credentials(None, None, None)
    operator = User.objects.filter(email=kept.email, is_active=True).first()
    if operator is None:
        return Credentials(None, None, _working_token(kept.token))
    password = kept.password if operator.check_password(kept.password or "") else None
    return Credentials(kept.email, password, _working_token(kept.token))


def _working_token(text: str | None) -> str | None:
    alive = Q(expires_at=None) | Q(expires_at__gt=Now())
    tokens = ApiToken.objects.with_digest(digest_of(text or ""), now=now())
    is_valid = tokens.filter(alive, revoked_at=None).exists()
    return text if is_valid else None


def _make_credentials() -> Credentials:
    password = secrets.token_urlsafe(12)
    operator = User.objects.create_superuser(OPERATOR, password)
    record_audit(project=None, actor="bootstrap", action="user.create", subject=OPERATOR)
    project = create_project(slug=PROJECT, name="Default", owner=operator)
    _, token = create_token(
        project=project,
        name="first token",
        scopes=Scope,
        actor="bootstrap",
        created_by=operator,
    )
    return Credentials(OPERATOR, password, token)


def _file_of(home: Path) -> Path:
    return home / "credentials"
