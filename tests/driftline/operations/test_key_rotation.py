"""Every key gets a successor by one command, while the installation runs, and nothing that it protects is lost."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import models
from django.test import Client

from driftline.base.accounts.models import AuditEntry, Project, User
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.keys import secret_keys
from driftline.base.keys.edge_keys import Purpose, newest_key, successions
from driftline.base.keys.home_keys import key_of_home
from driftline.base.keys.key_files import add_key, read_keys
from driftline.base.keys.key_succession import Pin, follow
from driftline.base.keys.sealed_field import sealed_columns
from driftline.base.keys.secrets_at_rest import decrypt, encrypt
from driftline.base.keys.signing import public_text
from driftline.operations import key_rotation
from driftline.operations.key_rotation import rotate_secret_key
from driftline.sign_in.invitations import invite, link_of, read_link
from inference.registry.models import Version
from inference.runtime.remote.credentials import KEY_FILE, open_headers, seal_headers
from inference.serving.plan import PLAN_FILE, PlanReader
from monitors.alerts.models import Channel
from monitors.alerts.sending.channel_services import create_channel
from monitors.workflows.mlflow.models import MlflowConnection
from tests.worlds.approvals import make_model

pytestmark = pytest.mark.django_db


@pytest.fixture
def home(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """A home with a secret key of its own, which this process uses."""
    settings.HOME, settings.NAMED_SECRET_KEY_FALLBACKS = tmp_path, []
    settings.SECRET_KEY = key_of_home(tmp_path, "secret_key")
    settings.SECRET_KEY_FILE = tmp_path / "keys" / "secret_key"
    settings.SECRET_KEY_STAMP = secret_keys.stamp_of(settings.SECRET_KEY_FILE)
    settings.SECRET_KEY_FALLBACKS = []
    key_of_home(tmp_path, "endpoint_key")
    key_of_home(tmp_path, "edge_key")
    settings.EDGE_KEY_FILE = tmp_path / "keys" / "edge_key"
    return tmp_path


@pytest.fixture
def channel(home: Path) -> Channel:
    project = Project.objects.create(slug="bank", name="Bank")
    made, _ = create_channel(
        project=project, kind="webhook", name="ops", target="https://93.184.216.34/hook", actor="test"
    )
    return made


def rotate(*arguments: str) -> str:
    output = StringIO()
    call_command("rotate_key", *arguments, stdout=output)
    return output.getvalue()


class TestSecretKey:
    def test_gets_a_successor_beside_which_it_still_opens_and_verifies(
        self, home: Path, channel: Channel, settings: Any, client: Client
    ) -> None:
        client.force_login(User.objects.create_user("ada@bank.example"))
        first, secret = settings.SECRET_KEY, decrypt(channel.secret)
        elsewhere = encrypt("by a process that has not looked yet")

        said = rotate("secret_key")

        assert said == "1 secret sealed anew, 0 that no key opens; 0 old keys deleted.\n"
        assert read_keys(home / "keys" / "secret_key") == [settings.SECRET_KEY, first]
        assert first != settings.SECRET_KEY
        assert decrypt(elsewhere) == "by a process that has not looked yet"
        assert client.get("/accounts/logout/").status_code == 200  # else a redirect to the sign-in
        channel.refresh_from_db()
        settings.SECRET_KEY_FALLBACKS = []
        assert decrypt(channel.secret) == secret

    def test_is_followed_by_processes_that_run(self, home: Path, settings: Any, client: Client) -> None:
        first = settings.SECRET_KEY
        add_key(home / "keys" / "secret_key")

        client.get("/healthz")

        assert [settings.SECRET_KEY, first] == read_keys(home / "keys" / "secret_key")
        assert first in settings.SECRET_KEY_FALLBACKS

    def test_is_deleted_by_the_second_rotation_after_it(
        self, home: Path, channel: Channel, settings: Any
    ) -> None:
        first, secret = settings.SECRET_KEY, decrypt(channel.secret)

        rotate("secret_key")
        said = rotate("secret_key")

        assert said.endswith("1 old key deleted.\n")
        assert first not in read_keys(home / "keys" / "secret_key")
        assert first not in settings.SECRET_KEY_FALLBACKS
        channel.refresh_from_db()
        assert decrypt(channel.secret) == secret

    def test_is_kept_while_something_cannot_be_opened(self, home: Path, channel: Channel) -> None:
        Channel.objects.create(project=channel.project, kind="webhook", name="lost", secret=b"another key")

        for _ in range(2):
            with pytest.raises(SystemExit):
                rotate("secret_key")

        assert len(read_keys(home / "keys" / "secret_key")) == 3

    def test_loses_nothing_where_its_rotation_dies_on_the_way_and_is_run_again(
        self, home: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other, _ = create_channel(
            project=channel.project,
            kind="webhook",
            name="other",
            target="https://93.184.216.34/h",
            actor="test",
        )
        secrets = [decrypt(one.secret) for one in (channel, other)]
        monkeypatch.setattr(key_rotation, "BATCH_ROWS", 1)
        reseal, resealed = key_rotation.reseal, list[bytes]()

        def die_at_the_second(stored: bytes) -> bytes:
            if resealed:
                raise KeyboardInterrupt
            resealed.append(stored)
            return reseal(stored)

        monkeypatch.setattr(key_rotation, "reseal", die_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            rotate_secret_key(home, actor="test")
        monkeypatch.setattr(key_rotation, "reseal", reseal)
        assert len(read_keys(home / "keys" / "secret_key")) == 2
        assert [decrypt(one.secret) for one in Channel.objects.order_by("pk")] == secrets

        rotate_secret_key(home, actor="test")

        assert len(read_keys(home / "keys" / "secret_key")) == 2
        assert [decrypt(one.secret) for one in Channel.objects.order_by("pk")] == secrets

    def test_that_signed_everything_is_kept_where_a_rotation_dies_after_the_new_one_and_is_run_again(
        self, home: Path, settings: Any, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client.force_login(User.objects.create_user("ada@bank.example"))
        first = settings.SECRET_KEY
        reseal_everything = key_rotation._reseal_everything

        def die() -> None:
            raise KeyboardInterrupt

        for _ in range(2):
            monkeypatch.setattr(key_rotation, "_reseal_everything", die)
            with pytest.raises(KeyboardInterrupt):
                rotate_secret_key(home, actor="test")
        second = settings.SECRET_KEY
        monkeypatch.setattr(key_rotation, "_reseal_everything", reseal_everything)

        rotate("secret_key")

        assert read_keys(home / "keys" / "secret_key") == [second, first]
        assert client.get("/accounts/logout/").status_code == 200
        rotate("secret_key")
        assert read_keys(home / "keys" / "secret_key") == [settings.SECRET_KEY, second]

    def test_of_the_environment_is_not_changed_and_seals_what_its_fallbacks_sealed(
        self, home: Path, channel: Channel, settings: Any
    ) -> None:
        secret = decrypt(channel.secret)
        settings.SECRET_KEY_FILE = None
        settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "a key of the environment"

        rotate("secret_key")

        settings.SECRET_KEY_FALLBACKS = []
        channel.refresh_from_db()
        assert decrypt(channel.secret) == secret
        assert len(read_keys(home / "keys" / "secret_key")) == 1

    def test_seals_every_column_of_secrets(self) -> None:
        named = {
            (model, field.name)
            for model in apps.get_models()
            for field in model._meta.get_fields()
            if isinstance(field, models.BinaryField)
            and ("secret" in field.name or "encrypted" in str(field.help_text))
        }

        assert named <= {(model, name) for model, names in sealed_columns().items() for name in names}


class TestEndpointKey:
    @pytest.fixture
    def version(self, home: Path) -> Version:
        model = make_model(Project.objects.create(slug="p", name="P"))
        sealed = seal_headers({"Authorization": "Bearer a"}, read_keys(home / KEY_FILE)[0])
        return Version.objects.create(model=model, version="1", credential=sealed.encode())

    def test_gets_a_successor_under_which_credentials_open_and_the_plan_says_so(
        self, home: Path, version: Version
    ) -> None:
        first = read_keys(home / KEY_FILE)[0]

        said = rotate("endpoint_key")
        rotate("endpoint_key")

        assert said == "1 secret sealed anew, 0 that no key opens; 0 old keys deleted.\n"
        assert first not in read_keys(home / KEY_FILE)
        assert not (home / "keys" / "endpoint_key.rotating").exists()
        sealed = bytes(Version.objects.get(pk=version.pk).credential).decode()
        assert open_headers(sealed, home) == {"Authorization": "Bearer a"}
        assert PlanReader(home / PLAN_FILE).read().generation > 0

    def test_before_still_opens_what_a_host_has_not_replaced_yet(self, home: Path, version: Version) -> None:
        before = bytes(version.credential).decode()

        rotate("endpoint_key")

        assert open_headers(before, home) == {"Authorization": "Bearer a"}


class TestEdgeKey:
    def test_is_named_as_the_successor_by_the_one_before_for_manifests_and_plans(self, home: Path) -> None:
        pins = {purpose: Pin(public_text(newest_key(purpose))) for purpose in Purpose}

        said = rotate("edge_key")

        assert said.startswith(
            "The new key signs manifests and plans, and the one before names it; 0 old keys deleted. Devices "
        )
        for purpose, pin in pins.items():
            statements = [one.statement for one in successions(purpose)]
            assert follow(pin, statements) == Pin(public_text(newest_key(purpose)), 1)

    def test_is_deleted_by_the_second_rotation_after_it_and_its_statement_stays(self, home: Path) -> None:
        [secret] = read_keys(home / "keys" / "edge_key")
        first = Pin(public_text(newest_key(Purpose.PLANS)))

        for _ in range(4):
            rotate("edge_key")

        assert len(read_keys(home / "keys" / "edge_key")) == 2
        assert not any(secret in path.read_text() for path in (home / "keys").iterdir())
        chain = successions(Purpose.PLANS)
        assert [one.number for one in chain] == [1, 2, 3, 4]
        assert follow(first, [one.statement for one in chain]) == Pin(
            public_text(newest_key(Purpose.PLANS)), 4
        )

    @pytest.mark.parametrize("step", ["store_successions", "drop_old_keys", "end_rotation"])
    def test_loses_nobody_where_a_rotation_dies_on_the_way_and_is_run_again(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        first = Pin(public_text(newest_key(Purpose.MANIFESTS)))
        rotate("edge_key")

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as dying:
            dying.setattr(key_rotation, step, die)
            with pytest.raises(KeyboardInterrupt):
                key_rotation.rotate_edge_key(home, actor="test")
        newest = public_text(newest_key(Purpose.MANIFESTS))
        met = follow(first, [one.statement for one in successions(Purpose.MANIFESTS)])
        key_rotation.rotate_edge_key(home, actor="test")

        assert met == Pin(newest, 2)
        assert follow(first, [one.statement for one in successions(Purpose.MANIFESTS)]) == Pin(newest, 2)

    def test_of_an_older_backup_gets_another_successor_than_it_once_had(self, home: Path) -> None:
        path = home / "keys" / "edge_key"
        backup = path.read_text()
        first = Pin(public_text(newest_key(Purpose.PLANS)))
        for _ in range(2):
            rotate("edge_key")

        path.write_text(backup)  # and the statements of later are still there
        assert successions(Purpose.PLANS) == []
        rotate("edge_key")

        [one] = successions(Purpose.PLANS)
        assert follow(first, [one.statement]).key == public_text(newest_key(Purpose.PLANS))


class TestInvitation:
    def test_still_lets_in_after_a_rotation(self, home: Path) -> None:
        project = Project.objects.create(slug="bank", name="Bank")
        invitation = invite(
            project=project, email="x@y.example", role="viewer", scopes=["read"], actor="ada", now=now()
        )
        token = link_of(invitation).rstrip("/").rpartition("/")[2]

        rotate("secret_key")

        assert read_link(token, now=now()) == invitation
        rotate("secret_key")
        with pytest.raises(Problem, match="no link of an invitation"):
            read_link(token, now=now())


class TestChannel:
    def test_gets_a_new_signing_secret_beside_the_one_before(self, channel: Channel) -> None:
        before = decrypt(channel.secret)

        said = rotate("channel", "--project", "bank", "--name", "ops").splitlines()

        channel.refresh_from_db()
        assert decrypt(channel.secret) == said[-1]
        assert decrypt(channel.previous_secret) == before
        assert "for 24 hours" in said[0]

    def test_that_there_is_not_is_refused(self, channel: Channel) -> None:
        with pytest.raises(CommandError, match="has no channel 'pager'"):
            rotate("channel", "--project", "bank", "--name", "pager")


class TestWebhookOfMlflow:
    def test_gets_a_new_secret_beside_the_one_before(self, home: Path) -> None:
        model = make_model(Project.objects.create(slug="p", name="P"))
        MlflowConnection.objects.create(
            model=model, url="https://mlflow.example.com", registered_model="m", webhook_token="t",
            webhook_secret=encrypt("the first"),
        )  # fmt: skip

        said = rotate("mlflow", "--project", "p", "--model", model.name).splitlines()

        connection = MlflowConnection.objects.get()
        assert decrypt(connection.webhook_secret) == said[-1]
        assert decrypt(connection.previous_webhook_secret) == "the first"
        rotate("secret_key")
        assert decrypt(MlflowConnection.objects.get().previous_webhook_secret) == "the first"

    def test_of_a_model_that_follows_none_is_refused(self, home: Path) -> None:
        with pytest.raises(CommandError, match="no model 'm' that follows MLflow"):
            rotate("mlflow", "--project", "p", "--model", "m")


@pytest.mark.parametrize("key", ["secret_key", "endpoint_key", "log_key", "edge_key"])
def test_a_dry_run_changes_nothing(home: Path, channel: Channel, key: str) -> None:
    before = {path.name: path.read_text() for path in (home / "keys").iterdir()}

    said = rotate(key, "--dry-run")

    assert "would" in said
    assert {path.name: path.read_text() for path in (home / "keys").iterdir()} == before
    assert not AuditEntry.objects.filter(action="key.rotate").exists()


@pytest.mark.parametrize("step", ["record_audit", "end_rotation"])
@pytest.mark.parametrize("key", ["secret_key", "endpoint_key", "edge_key"])
def test_a_rotation_that_dies_at_its_end_is_in_the_audit_trail_and_gets_no_second_key(
    home: Path, channel: Channel, key: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(key_rotation, step, die)
        with pytest.raises(KeyboardInterrupt):
            rotate(key)
    newest = read_keys(home / "keys" / key)[0]
    assert AuditEntry.objects.filter(action="key.rotate").exists() == (step == "end_rotation")

    rotate(key)

    assert read_keys(home / "keys" / key)[0] == newest
    assert AuditEntry.objects.filter(action="key.rotate", subject=key).exists()


@pytest.mark.parametrize("key", ["secret_key", "endpoint_key", "log_key", "edge_key"])
def test_each_rotation_is_in_the_audit_trail_without_a_key(home: Path, channel: Channel, key: str) -> None:
    key_of_home(home, "log_key")

    rotate(key)

    entry = AuditEntry.objects.get(action="key.rotate")
    assert (entry.subject, entry.actor) == (key, "command line")
    keys = [one for path in (home / "keys").iterdir() for one in read_keys(path)]
    assert not any(one in str(entry.after) for one in keys)
