"""The first way in: made once for a database, and said only while it works."""

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from driftline.base.accounts.models import ApiToken, AuditEntry, Project, User, digest_of
from driftline.base.accounts.services import revoke_token
from driftline.base.clock import now
from driftline.management.commands.up import _say_login
from driftline.sign_in.bootstrap import OPERATOR, Credentials, bootstrap_home, working_credentials

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def test_makes_the_operator_the_project_and_the_token_and_keeps_them_private(tmp_path: Path) -> None:
    made = bootstrap_home(tmp_path)

    file = tmp_path / "credentials"
    assert Credentials(**json.loads(file.read_text())) == made
    assert file.stat().st_mode & 0o777 == 0o600
    assert User.objects.get().is_superuser
    assert Project.objects.get().slug == "default"
    assert ApiToken.objects.get().digest == digest_of(made.token or "")
    assert set(AuditEntry.objects.values_list("actor", "action")) >= {("bootstrap", "user.create")}


def test_gives_the_same_again(tmp_path: Path) -> None:
    assert bootstrap_home(tmp_path) == bootstrap_home(tmp_path)


def test_makes_them_anew_for_an_empty_database(tmp_path: Path) -> None:
    """The home is kept and DRIFTLINE_DATABASE_URL names another server."""
    old = Credentials(OPERATOR, "password of another database", "dl_of_another_database")
    (tmp_path / "credentials").write_text(json.dumps(old.__dict__))

    made = bootstrap_home(tmp_path)

    assert made.token != old.token
    assert working_credentials(tmp_path) == made


def test_makes_none_where_other_people_have_taken_over(tmp_path: Path) -> None:
    bootstrap_home(tmp_path)
    User.objects.create_superuser("ada@bank.example")
    User.objects.get(email=OPERATOR).delete()

    bootstrap_home(tmp_path)

    assert [user.email for user in User.objects.all()] == ["ada@bank.example"]


def test_leaves_out_what_no_longer_works(tmp_path: Path) -> None:
    made = bootstrap_home(tmp_path)
    token = ApiToken.objects.get()

    token.expires_at = now() - timedelta(seconds=1)
    token.save()
    assert working_credentials(tmp_path) == Credentials(OPERATOR, made.password, None)

    revoke_token(token=token, actor="test", now=now())
    operator = User.objects.get()
    operator.set_password("chosen by a person")
    operator.save()
    assert working_credentials(tmp_path) == Credentials(OPERATOR, None, None)

    (tmp_path / "credentials").unlink()
    assert working_credentials(tmp_path) == Credentials(None, None, None)


def test_the_command_prints_them_and_null_for_what_does_not_work(tmp_path: Path, settings: Any) -> None:
    settings.HOME = tmp_path
    first, second = StringIO(), StringIO()

    call_command("bootstrap", stdout=first)
    ApiToken.objects.update(revoked_at=now())
    call_command("bootstrap", stdout=second)

    said = json.loads(first.getvalue())
    assert json.loads(second.getvalue()) == said | {"token": None}


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (Credentials("a@b.example", "secret", None), "a@b.example  password: secret"),
        (Credentials("a@b.example", None, None), "`manage.py changepassword a@b.example`"),
        (Credentials(None, None, None), "`manage.py changepassword EMAIL`"),
    ],
)
def test_a_start_says_how_to_get_in(credentials: Credentials, words: str) -> None:
    assert words in _say_login(credentials)
