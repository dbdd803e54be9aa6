"""Stolen password hashes are costly to try, and a secret key that leaked can be replaced while people work."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from django.test import Client

from driftline.base.accounts.models import User
from driftline.base.accounts.services import create_project
from driftline.base.http.paging import page
from driftline.base.keys.secrets_at_rest import SecretUnreadable, decrypt, encrypt
from inference.registry.services import create_model
from monitors.alerts.models import Channel
from monitors.alerts.sending.channel_services import create_channel
from monitors.workflows.mlflow.models import MlflowConnection
from monitors.workflows.mlflow.registry_imports.models import RegistryImport
from monitors.workflows.models import Workflow
from monitors.workflows.pulls.models import Pull
from tests.pages_client import PagesClient

pytestmark = pytest.mark.django_db

PASSWORD = "a long enough passphrase"
OLD_KEY, NEW_KEY = (
    "old-key-of-a-test-" + "0123456789abcdef" * 3,
    "new-key-of-a-test-" + "fedcba9876543210" * 3,
)


class TestPasswords:
    def test_are_hashed_with_argon2id_within_bounded_memory(self) -> None:
        """PBKDF2 needs no memory: a graphics card tries thousands of times more of them than of these."""
        user = User.objects.create_user("ada@bank.example", password=PASSWORD)

        assert user.password.startswith("argon2$argon2id$v=19$m=47104,t=1,p=1$")

    @pytest.mark.slow
    def test_of_earlier_days_still_open_and_are_hashed_anew(self) -> None:
        user = User.objects.create_user("ada@bank.example")
        user.password = make_password(PASSWORD, hasher="pbkdf2_sha256")
        user.save()

        answer = Client().post("/accounts/login/", {"login": user.email, "password": PASSWORD})

        user.refresh_from_db()
        assert answer.status_code == 302
        assert user.password.startswith("argon2$argon2id$")
        assert user.check_password(PASSWORD)


class TestSecretKey:
    def test_is_replaced_by_an_environment_variable(self, tmp_path: Path) -> None:
        """SECRET_KEY_FALLBACKS had no variable: a new key signed everybody out and lost the webhooks' keys."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
        given = {
            "DRIFTLINE_HOME": str(tmp_path),
            "DRIFTLINE_SECRET_KEY": NEW_KEY,
            "DRIFTLINE_SECRET_KEY_FALLBACKS": f"{OLD_KEY}, older",
        }

        shown = subprocess.run(
            [sys.executable, "-c", "from driftline import settings as s; print(s.SECRET_KEY, s.SECRET_KEY_FALLBACKS)"],
            env=kept | given, capture_output=True, text=True, check=True,
        )  # fmt: skip

        assert shown.stdout.strip() == f"{NEW_KEY} ['{OLD_KEY}', 'older']"

    def test_once_replaced_leaves_people_signed_in(self, settings: Any, tmp_path: Path) -> None:
        settings.HOME, settings.SECRET_KEY = tmp_path, OLD_KEY
        owner = User.objects.create_user("ada@bank.example", password=PASSWORD)
        create_project(slug="bank", name="Bank", owner=owner)
        client = PagesClient()
        client.force_login(owner)

        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW_KEY, [OLD_KEY]
        still_in = client.get("/settings/tokens").status_code
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "third" + NEW_KEY, []
        signed_out = client.get("/settings/tokens").status_code

        assert (still_in, signed_out) == (200, 302)

    def test_once_replaced_reads_cursors_of_before(self, settings: Any) -> None:
        for number in range(3):
            User.objects.create_user(f"user-{number}@bank.example")
        settings.SECRET_KEY = OLD_KEY
        first = page(User.objects.all(), lambda user: user.email, by=("pk",), cursor="", limit=2)

        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW_KEY, [OLD_KEY]

        second = page(User.objects.all(), lambda user: user.email, by=("pk",), cursor=first.next, limit=2)
        assert second.items == ["user-2@bank.example"]

    def test_that_was_replaced_is_not_needed_once_secrets_are_resealed(
        self, settings: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings.SECRET_KEY = OLD_KEY
        project = create_project(slug="bank", name="Bank", owner=User.objects.create_user("ada@bank.example"))
        channel, secret = create_channel(
            project=project, kind="webhook", name="ops", target="https://93.184.216.34/hook", actor="test"
        )
        sealed = {
            "secret": encrypt("TOTP").decode(),
            "migrated_codes": [encrypt("code").decode()],
            "used_mask": 5,
        }
        model = create_model(project=project, name="approvals", task="binary", actor="test")
        Workflow.objects.create(model=model, remote_secret=encrypt("password of Airflow"))
        MlflowConnection.objects.create(
            model=model, url="https://mlflow.example.com", registered_model="approvals", webhook_token="t",
            secret=encrypt("token of MLflow"), webhook_secret=encrypt("key of webhooks"),
        )  # fmt: skip
        pull = Pull.objects.create(
            model=model, source="url", url="https://example.com/m.onnx", secret=encrypt("token of a hub"),
            query=encrypt("sig=a signature"),
        )  # fmt: skip
        registry = RegistryImport.objects.create(
            project=project, url="https://mlflow.example.com", secret=encrypt("token of a registry")
        )
        factor = Authenticator.objects.create(user=project.members.get(), type="totp", data=sealed)
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW_KEY, [OLD_KEY]
        lost = Channel.objects.create(
            project=project, kind="webhook", name="lost", secret=b"under another key"
        )

        settings.SECRET_KEY_FILE = None
        with pytest.raises(SystemExit):
            call_command("rotate_key", "secret_key")

        settings.SECRET_KEY_FALLBACKS = []
        assert decrypt(Channel.objects.get(pk=channel.pk).secret) == secret
        assert decrypt(Workflow.objects.get(model=model).remote_secret) == "password of Airflow"
        connection = MlflowConnection.objects.get(model=model)
        assert decrypt(connection.secret) == "token of MLflow"
        assert decrypt(connection.webhook_secret) == "key of webhooks"
        pull.refresh_from_db()
        assert (decrypt(pull.secret), decrypt(pull.query)) == ("token of a hub", "sig=a signature")
        registry.refresh_from_db()
        assert decrypt(registry.secret) == "token of a registry"
        factor.refresh_from_db()
        assert decrypt(factor.data["secret"].encode()) == "TOTP"
        assert decrypt(factor.data["migrated_codes"][0].encode()) == "code"
        assert factor.data["used_mask"] == 5
        with pytest.raises(SecretUnreadable):
            decrypt(Channel.objects.get(pk=lost.pk).secret)
        assert capsys.readouterr().out == (
            "8 secrets sealed anew, 1 that no key opens; 0 old keys deleted.\n"
        )
