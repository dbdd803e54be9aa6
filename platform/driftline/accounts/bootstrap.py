"""The first user, project and token of a home, made once and kept in its credentials file."""

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from django.db import transaction

from driftline.accounts.models import ApiToken, Project, User, digest_of
from driftline.accounts.services import create_project, create_token

OPERATOR = "operator@driftline.local"


@dataclass(frozen=True)
class Credentials:
    """What a newcomer needs to get in: a login for people and a token for programs."""

    email: str
    password: str
    token: str


def bootstrap_home(home: Path) -> Credentials:
    """Make the operator, the `default` project and a token with every scope, unless the home has them already."""
    path = home / "credentials"
    if path.exists():
        kept = Credentials(**json.loads(path.read_text()))
        if ApiToken.objects.filter(digest=digest_of(kept.token), revoked_at=None).exists():
            return kept
    with transaction.atomic():
        made = _make_credentials()
        _write_private(path, json.dumps(asdict(made), indent=2))
    return made


def _make_credentials() -> Credentials:
    password = secrets.token_urlsafe(12)
    operator = User.objects.filter(email=OPERATOR).first() or User.objects.create_superuser(OPERATOR)
    operator.set_password(password)
    operator.save()
    project = Project.objects.filter(slug="default").first() or create_project(
        slug="default", name="Default", owner=operator
    )
    _, token = create_token(
        project=project,
        name="first token",
        scopes=["infer", "log", "label", "backfill", "read", "write", "deploy", "admin"],
        actor="bootstrap",
        created_by=operator,
    )
    return Credentials(OPERATOR, password, token)


def _write_private(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
