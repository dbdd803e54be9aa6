"""The page Lake: an admin sets and stops it, everybody sees what is in it and why it cannot be written to."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from driftline.base.keys.secrets_at_rest import decrypt, encrypt
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.registry.models import Model
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup

PATH = "/settings/lake"
NOW = datetime(2026, 1, 7, tzinfo=UTC)


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> str:
    settings.LAKE_FOLDERS = [str(tmp_path)]
    return str(tmp_path / "lake")


@pytest.fixture
def lake(model: Model, folder: str) -> Lake:
    LakeFile.objects.create(
        model=model, day=date(2026, 1, 5), number=0, path="a.parquet", state="done", due_at=NOW, written_at=NOW,
        rows=1_234,
    )  # fmt: skip
    LakeFile.objects.create(
        model=model, day=date(2026, 1, 6), number=0, path="b.parquet", state="waiting", due_at=NOW
    )
    return Lake.objects.create(project=model.project, settings={"folder": folder})


def test_an_admin_sets_a_folder(client: Client, model: Model, folder: str) -> None:
    shown = markup(client.post(PATH, {"do": "save", "folder": folder, "region": "us-east-1"}, follow=True))

    assert "The lake is set" in shown
    assert folder in shown
    assert Lake.objects.get().settings["folder"] == folder


def test_a_secret_is_stored_and_never_shown(client: Client, model: Model, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["203.0.113.0/24"]
    sent = {
        "bucket": "days",
        "endpoint": "https://203.0.113.7",
        "region": "us-east-1",
        "access_key_id": "ada",
    }

    shown = markup(client.post(PATH, {"do": "save", "secret": "pw-of-ada"} | sent, follow=True))

    assert decrypt(Lake.objects.get().secret) == "pw-of-ada"
    assert "pw-of-ada" not in shown
    assert "••••••••" in shown


def test_what_is_refused_is_shown_at_its_field(client: Client, model: Model) -> None:
    answer = client.post(PATH, {"do": "save", "folder": "/etc", "region": "us-east-1"})

    assert answer.status_code == 422
    assert "DRIFTLINE_LAKE_FOLDERS" in markup(answer)


def test_shows_what_is_in_it_and_what_is_due(client: Client, lake: Lake, model: Model) -> None:
    shown = markup(client.get(PATH))

    assert "1,234 rows in 1 file" in shown
    assert "2026-01-05" in shown


def test_says_since_when_and_why_it_cannot_be_written_to(client: Client, lake: Lake, model: Model) -> None:
    Lake.objects.update(
        failing_since=NOW, error="The bucket refused a request: it answered 403 AccessDenied."
    )

    shown, of_model = markup(client.get(PATH)), markup(client.get(f"/models/{model.name}/settings"))

    assert "it answered 403 AccessDenied. It is tried every minute, and retention keeps the rows" in shown
    assert "so no rows leave" in of_model


def test_the_settings_of_a_model_say_what_is_in_the_lake(client: Client, lake: Lake, model: Model) -> None:
    assert "which has 1,234 in 1 file; 1 day is due." in markup(client.get(f"/models/{model.name}/settings"))


def test_is_stopped_after_a_question(client: Client, lake: Lake, folder: str) -> None:
    asked = markup(client.get(f"{PATH}/stop"))
    shown = markup(client.post(PATH, {"do": "stop"}, follow=True))

    assert "Erasures of people do not reach its files any more" in asked
    assert f"Nothing is written to {folder} any more; its files stay." in shown
    assert not Lake.objects.exists()


def test_a_viewer_sees_it_and_changes_nothing(lake: Lake, model: Model) -> None:
    lake.secret = encrypt("pw")
    lake.save()
    viewer = viewer_of(model.project)

    shown = markup(viewer.get(PATH))

    assert "Only admins of this project change the lake" in shown
    assert viewer.post(PATH, {"do": "stop"}).status_code == 403
