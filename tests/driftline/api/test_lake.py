"""The lake over HTTP: set, looked at and stopped by admins, with a secret that nobody reads again."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry
from driftline.base.keys.secrets_at_rest import decrypt
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.registry.models import Model
from inference.registry.services import create_model
from tests.driftline.api.conftest import Api

BUCKET = {"bucket": "days", "endpoint": "https://203.0.113.7", "access_key_id": "ada", "prefix": "credit"}


@pytest.fixture(autouse=True)
def _folders(settings: Any, tmp_path: Path) -> None:
    settings.OUTBOUND_ALLOW, settings.LAKE_FOLDERS = ["203.0.113.0/24"], [str(tmp_path)]


@pytest.fixture
def model(api: Api) -> Model:
    return create_model(project=api.project, name="flights", task="binary", actor="test")


@pytest.fixture
def lake(api: Api) -> Lake:
    answer = api.send("PUT", "/lake", {"settings": BUCKET, "secret": "pw-of-ada"})
    assert answer.status_code == 200, answer.json()
    return Lake.objects.get()


def add_file(model: Model, **values: Any) -> LakeFile:
    moment = datetime(2026, 1, 7, tzinfo=UTC)
    known = {"day": date(2026, 1, 5), "number": 0, "path": "a.parquet", "state": "done", "due_at": moment}
    return LakeFile.objects.create(model=model, **known | {"written_at": moment, "rows": 5} | values)


def test_there_is_none_at_first(api: Api) -> None:
    assert api.get("/lake").json()["settings"] is None
    assert api.get("/lake/files").json()["items"] == []


def test_shows_where_it_is_and_never_its_secret(api: Api, lake: Lake) -> None:
    shown = api.get("/lake").json()

    assert (shown["location"], shown["has_secret"]) == ("s3://days/credit", True)
    assert "pw-of-ada" not in api.get("/lake").content.decode()
    assert not AuditEntry.objects.filter(after__icontains="pw-of-ada").exists()
    assert decrypt(lake.secret) == "pw-of-ada"


def test_counts_what_is_in_it_and_what_is_to_be_written(api: Api, model: Model, lake: Lake) -> None:
    add_file(model)
    add_file(model, day=date(2026, 1, 6), state="waiting", written_at=None, rows=0)
    add_file(model, day=date(2026, 1, 7), state="failed", written_at=None, rows=0, error="It failed.")

    shown = api.get("/lake").json()
    files = api.get("/lake/files").json()["items"]

    assert (shown["files"], shown["rows"], shown["newest_day"]) == (1, 5, "2026-01-05")
    assert (shown["waiting"], shown["due"], shown["oldest_due"], shown["failed"]) == (1, 1, "2026-01-06", 1)
    assert [(file["day"], file["state"]) for file in files] == [
        ("2026-01-07", "failed"),
        ("2026-01-06", "waiting"),
        ("2026-01-05", "done"),
    ]


def test_names_the_part_of_a_day_that_a_file_holds(api: Api, model: Model, lake: Lake) -> None:
    add_file(model, end_second=3_600)
    add_file(model, number=1, start_second=3_600, state="failed", written_at=None)

    rest, first = api.get("/lake/files").json()["items"]

    assert (first["start"], first["end"]) == ("2026-01-05T00:00:00Z", "2026-01-05T01:00:00Z")
    assert (rest["start"], rest["end"]) == ("2026-01-05T01:00:00Z", "2026-01-06T00:00:00Z")


def test_a_secret_stays_while_server_and_key_do(api: Api, lake: Lake) -> None:
    api.send("PUT", "/lake", {"settings": BUCKET | {"region": "eu-central-1"}})
    assert decrypt(Lake.objects.get().secret) == "pw-of-ada"

    api.send("PUT", "/lake", {"settings": BUCKET | {"access_key_id": "zoe"}})
    assert Lake.objects.get().secret == b""


def test_it_stays_where_its_files_are(api: Api, model: Model, lake: Lake) -> None:
    add_file(model)

    answer = api.send("PUT", "/lake", {"settings": BUCKET | {"prefix": "elsewhere"}})

    assert (answer.status_code, answer.json()["code"]) == (409, "lake_in_use")


def test_it_is_stopped_after_a_confirmation_and_forgets_what_it_held(
    api: Api, model: Model, lake: Lake
) -> None:
    add_file(model)

    assert api.send("DELETE", "/lake").json()["code"] == "confirmation_needed"
    assert api.send("DELETE", "/lake?confirm=s3://days/credit").status_code == 204

    assert not Lake.objects.exists()
    assert not LakeFile.objects.exists()
    assert AuditEntry.objects.get(action="lake.stop").before["files"] == 1


@pytest.mark.parametrize(
    ("where", "pointer"),
    [
        ({}, "/settings/bucket"),
        ({"bucket": "days", "folder": "/tmp"}, "/settings/bucket"),
        ({"bucket": "a/b"}, "/settings/bucket"),
        ({"folder": "/etc"}, "/settings/folder"),
        ({"folder": "lakes"}, "/settings/folder"),
        ({"bucket": "days", "endpoint": "https://10.0.0.1"}, "/settings/endpoint"),
        ({"bucket": "days", "endpoint": "https://203.0.113.7/days"}, "/settings/endpoint"),
        ({"bucket": "days", "region": "../x"}, "/settings/region"),
    ],
)
def test_what_can_never_be_a_lake_is_refused(api: Api, where: dict[str, str], pointer: str) -> None:
    answer = api.send("PUT", "/lake", {"settings": where})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert not Lake.objects.exists()


def test_a_folder_takes_no_secret(api: Api, tmp_path: Path) -> None:
    answer = api.send("PUT", "/lake", {"settings": {"folder": str(tmp_path / "a")}, "secret": "pw"})

    assert answer.json()["errors"][0]["pointer"] == "/secret"
