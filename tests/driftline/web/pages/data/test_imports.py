"""The page Import: says what a file must look like, takes it, and shows how far it is."""

from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from inference.prediction_log.imports import services
from inference.prediction_log.imports.models import Import
from inference.registry.models import Model
from tests.markup import markup

pytestmark = pytest.mark.slow

GOOD = b"id,timestamp,prediction,income\np-1,2026-01-05T00:00:00Z,1,2.5\np-2,now,0,3\n"


@pytest.fixture
def path(model: Model) -> str:
    return f"/models/{model.name}/import"


def upload(client: Client, path: str, content: bytes, **headers: str) -> Any:
    file = SimpleUploadedFile("mine.csv", content, "text/csv")
    return client.post(path, {"file": file, "kind": "predictions"}, headers=headers)


def bring(client: Client, path: str, content: bytes) -> Any:
    """Upload a file and confirm it as it was recognised."""
    form = {"kind": "predictions", "encoding": "utf-8", "delimiter": ",", "decimal": ".", "has_header": "yes"}
    return client.post(upload(client, path, content)["Location"], form | {"do": "confirm"}, follow=True)


def test_an_empty_one_says_what_the_file_must_look_like(client: Client, path: str) -> None:
    page = markup(client.get(path))

    assert "No file has been imported yet" in page
    assert "id,timestamp,prediction,probability,income,region,label" in page


def test_a_file_is_taken_and_followed_until_it_is_done(client: Client, path: str) -> None:
    shown = markup(bring(client, path, GOOD))
    assert "mine.csv was taken" in shown
    assert 'hx-trigger="every 1s"' in shown

    job = Import.objects.get()
    services.resume_import(job.pk)

    part = markup(client.get(f"{path}?part=imports"))
    assert "hx-trigger" not in part
    assert f"/imports/{job.pk}/bad-rows" in part


def test_a_file_that_cannot_be_read_is_explained_in_the_form(client: Client, path: str, home: Path) -> None:
    answer = upload(client, path, b"", hx_request="true")

    assert answer.status_code == 422
    assert "The submitted file is empty" in markup(answer)
    assert not Import.objects.exists()


def test_an_import_is_cancelled(client: Client, path: str) -> None:
    bring(client, path, GOOD)
    job = Import.objects.get()

    page = markup(client.post(path, {"cancel": str(job.pk)}, follow=True))

    job.refresh_from_db()
    assert job.state == "cancelled"
    assert "0 rows of it stay in the log" in page
    assert "<progress" not in page.split('id="imports"')[1].split("</section>")[0]
