"""The same file twice is one import: it is named again, and no second job is made."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from inference.prediction_log.imports import services
from inference.prediction_log.imports.models import Import
from inference.prediction_log.models import PredictionRow
from inference.registry.models import Model
from tests.driftline.api.conftest import Api, caller
from tests.worlds.approvals import make_model

pytestmark = pytest.mark.django_db

PREDICTIONS, LABELS = (f"/models/approvals/imports/{kind}" for kind in ("predictions", "labels"))
ROWS = b"id,timestamp,prediction,probability,income\np-1,2026-01-05T10:00:00Z,1,0.9,41.5\n"
LABEL_ROWS = b"id,label\np-1,1\n"


@pytest.fixture
def api() -> Api:
    return caller("ours")


@pytest.fixture
def model(api: Api, settings: Any, tmp_path: Path) -> Model:
    settings.HOME = tmp_path
    return make_model(api.project)


def send(api: Api, content: bytes = ROWS, path: str = PREDICTIONS) -> Any:
    return api.send("POST", path, content, content_type="text/csv")


def finish(answer: Any) -> int:
    """Do what a worker does; give the import's number."""
    number = int(answer.json()["id"])
    services.resume_import(import_id=number)
    return number


def uploads_in(home: Path) -> list[str]:
    """The files of imports that are there, but for the lists by which rows can be removed again."""
    return [path.name for path in (home / "imports").iterdir() if not path.name.endswith("-rows")]


class TestSecondTime:
    @pytest.mark.parametrize(("path", "content"), [(PREDICTIONS, ROWS), (LABELS, LABEL_ROWS)])
    def test_is_answered_with_the_first_import(
        self, path: str, content: bytes, api: Api, model: Model, tmp_path: Path
    ) -> None:
        """The same file was answered with 202 and a second job each time."""
        first = send(api, content, path)
        number = finish(first)

        again = send(api, content, path)

        assert (first.status_code, first.json()["existing"]) == (202, False)
        assert (again.status_code, again.json()["existing"]) == (200, True)
        assert (again.json()["id"], again.json()["state"]) == (number, "done")
        assert again["Location"] == f"/api/v1/models/approvals/imports/{number}"
        assert Import.objects.count() == 1
        assert uploads_in(tmp_path) == []

    def test_is_answered_so_while_the_first_waits(self, api: Api, model: Model) -> None:
        first = send(api)

        again = send(api)

        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])

    def test_is_a_new_import_after_the_first_was_cancelled(self, api: Api, model: Model) -> None:
        first = send(api).json()["id"]
        api.send("POST", f"/models/approvals/imports/{first}/cancel")

        assert send(api).status_code == 202

    def test_is_a_new_import_after_the_first_failed(self, api: Api, model: Model) -> None:
        first = finish(send(api))
        Import.objects.filter(pk=first).update(state=Import.State.FAILED)

        again = send(api)

        assert (again.status_code, again.json()["existing"]) == (202, False)

    def test_is_a_new_import_where_it_is_asked_for(self, api: Api, model: Model) -> None:
        finish(send(api))

        again = send(api, path=f"{PREDICTIONS}?force=true")

        finish(again)
        assert again.status_code == 202
        assert list(Import.objects.order_by("pk").values_list("accepted", "duplicates")) == [(1, 0), (0, 1)]
        assert PredictionRow.objects.count() == 1

    def test_for_another_version_or_with_other_bytes_is_another_import(self, api: Api, model: Model) -> None:
        finish(send(api))

        other_version = send(api, path=f"{PREDICTIONS}?version=2")
        other_bytes = send(api, ROWS.replace(b"p-1", b"p-2"))

        assert (other_version.status_code, other_bytes.status_code) == (202, 202)

    def test_for_another_model_is_another_import(self, api: Api, model: Model) -> None:
        finish(send(api))
        make_model(api.project, "renewals")

        assert send(api, path="/models/renewals/imports/predictions").status_code == 202


class TestCommand:
    def test_says_that_the_file_was_imported_before(
        self, model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "rows.csv"
        path.write_bytes(ROWS)
        call_command("import_predictions", str(path), model=model.name)
        capsys.readouterr()

        call_command("import_predictions", str(path), model=model.name)
        once_more = capsys.readouterr().out
        call_command("import_predictions", str(path), model=model.name, force=True)

        assert "took this file before; --force takes it again." in once_more
        assert "0 new, 1 known already, 0 bad" in capsys.readouterr().out
        assert Import.objects.count() == 2


def test_an_upload_that_exists_leaves_no_file(model: Model, tmp_path: Path) -> None:
    sender = services.FileSender("test")
    for _ in range(2):
        job, _ = services.import_upload(
            model=model, kind="predictions", stream=BytesIO(ROWS), name="a.csv", version="", sender=sender
        )
        if job.is_unfinished:
            services.resume_import(import_id=job.pk)

    assert uploads_in(tmp_path) == []
