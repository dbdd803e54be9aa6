"""Bulk imports over HTTP: taken at once, followed by their address, cancelled, and their bad rows read."""

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from driftline.base.accounts.models import AuditEntry
from inference.prediction_log.imports import services
from inference.prediction_log.imports.models import Import
from inference.prediction_log.models import PredictionRow
from inference.registry.models import Model
from tests.driftline.api.conftest import Api, caller
from tests.driftline.api.shape import assert_problem

PREDICTIONS, LABELS = "/models/flights/imports/predictions", "/models/flights/imports/labels"
GOOD = b"id,timestamp,prediction,x\np-1,2026-01-05T00:00:00Z,1,2.5\np-2,now,0,3\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture(autouse=True)
def model(flights: Model) -> Model:
    return flights


def finish(answer: Any) -> dict[str, Any]:
    """Let a worker import what was taken, and read the import at its address."""
    services.resume_import(answer.json()["id"])
    return caller("ours").get(answer["Location"].removeprefix("/api/v1")).json()


def test_a_file_is_taken_and_imported_by_a_worker(api: Api) -> None:
    answer = api.post(PREDICTIONS, GOOD, content_type="text/csv")

    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["progress"]) == ("queued", 0)
    told = finish(answer)
    assert (told["state"], told["progress"], told["rows"]) == ("done", 1, 2)
    assert (told["accepted"], told["rejected"], told["error"]) == (1, 1, None)
    assert AuditEntry.objects.filter(action="import.predictions").count() == 1


def test_a_form_does_as_well(api: Api) -> None:
    form = {"file": SimpleUploadedFile("mine.csv", GOOD, "text/csv")}

    answer = api.client.post(f"/api/v1{PREDICTIONS}", form, headers={"Authorization": f"Bearer {api.text}"})

    assert (answer.status_code, answer.json()["file"]) == (202, "mine.csv")


def test_bad_rows_are_given_with_their_reasons(api: Api) -> None:
    told = finish(api.post(PREDICTIONS, GOOD, content_type="text/csv"))

    answer = api.get(f"/models/flights/imports/{told['id']}/bad-rows")

    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    content = answer.getvalue()
    assert answer["Content-Length"] == str(len(content))
    [bad] = csv.DictReader(io.StringIO(content.decode()))
    assert (bad["import_line"], bad["import_column"], bad["id"]) == ("3", "timestamp", "p-2")
    assert bad["import_reason"] == "'now' is not a time with a zone, such as 2026-01-31T12:00:00Z."


def test_an_import_without_bad_rows_has_no_file_of_them(api: Api) -> None:
    told = finish(api.post(LABELS, b"id,label\np-1,1\n", content_type="text/csv"))

    answer = api.get(f"/models/flights/imports/{told['id']}/bad-rows")

    assert answer.json()["code"] == "no_bad_rows"
    assert_problem(answer, 404)


def test_a_file_that_is_sent_twice_is_imported_once(api: Api) -> None:
    first = api.post(PREDICTIONS, GOOD, content_type="text/csv").json()["id"]

    answer = api.post(PREDICTIONS, GOOD, content_type="text/csv")

    assert (answer.status_code, answer.json()["id"], answer.json()["existing"]) == (200, first, True)
    finish(answer)
    again = finish(api.post(f"{PREDICTIONS}?force=true", GOOD, content_type="text/csv"))
    assert (again["accepted"], again["duplicates"]) == (0, 1)
    assert PredictionRow.objects.count() == 1


def test_an_import_is_cancelled_once(api: Api, home: Path) -> None:
    job = api.post(PREDICTIONS, GOOD, content_type="text/csv").json()["id"]

    answers = [api.post(f"/models/flights/imports/{job}/cancel") for _ in range(2)]

    assert answers[0].json()["state"] == "cancelled"
    assert_problem(answers[1], 409)
    services.resume_import(job)
    assert not PredictionRow.objects.exists()
    assert list((home / "imports").iterdir()) == []


class TestScopes:
    def test_labels_in_a_file_of_predictions_need_theirs(self, api: Api) -> None:
        content = b"timestamp,prediction,label\n2026-01-05T00:00:00Z,1,1\n"

        refused = caller("ours", "log").post(PREDICTIONS, content, content_type="text/csv")
        taken = caller("ours", "log", "label").post(PREDICTIONS, content, content_type="text/csv")

        assert_problem(refused, 403)
        assert taken.status_code == 202

    def test_labels_do_not_bring_predictions(self, api: Api) -> None:
        assert_problem(caller("ours", "label").post(PREDICTIONS, GOOD, content_type="text/csv"), 403)


@pytest.mark.parametrize(
    ("path", "content", "kind", "status", "code", "pointer"),
    [
        (PREDICTIONS, b"", "text/csv", 422, "no_rows", None),
        (PREDICTIONS, b"{}", "application/json", 415, "unsupported_media_type", None),
        (PREDICTIONS, b"x,y\n1,2\n", "text/csv", 422, "missing_column", "/timestamp"),
        (PREDICTIONS, b"timestamp,prediction\nnow,1\n", "text/csv", 422, "invalid_timestamp", "/timestamp"),
        (PREDICTIONS + "?version=a/b", GOOD, "text/csv", 422, "invalid_version", "/version"),
        (LABELS, b"id,truth\n1,2\n", "text/csv", 422, "missing_column", "/label"),
        (LABELS, b"\x1f\x8b", "application/octet-stream", 415, "unsupported_media_type", None),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_at_once(
    path: str, content: bytes, kind: str, status: int, code: str, pointer: str | None, api: Api, home: Path
) -> None:
    answer = api.post(path, content, content_type=kind)

    problem = assert_problem(answer, status, code)
    assert pointer is None or [fault["pointer"] for fault in problem["errors"]] == [pointer]
    assert not Import.objects.exists()
    assert not list(home.glob("imports/*"))


class TestExport:
    def test_gives_the_log_as_parquet_and_leaves_an_audit_row(self, api: Api) -> None:
        finish(api.post(PREDICTIONS, GOOD, content_type="text/csv"))

        answer = api.get("/models/flights/export?from=2026-01-05T00:00:00Z")

        [row] = pq.read_table(io.BytesIO(answer.getvalue())).to_pylist()
        assert (row["id"], row["x"], row["label"]) == ("p-1", 2.5, None)
        assert AuditEntry.objects.filter(action="predictions.export").count() == 1

    @pytest.mark.parametrize("query", ["from=yesterday", "role=boss"])
    def test_refuses_a_wrong_parameter(self, query: str, api: Api) -> None:
        assert_problem(api.get(f"/models/flights/export?{query}"), 400, "invalid_parameter")

    def test_does_not_know_a_version_that_is_not_there(self, api: Api) -> None:
        assert_problem(api.get("/models/flights/export?version=9"), 404)
