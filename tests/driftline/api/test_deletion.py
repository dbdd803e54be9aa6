"""Deletions over HTTP: what goes is listed, its name confirms it; other projects see nothing."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from inference.prediction_log.imports import services
from inference.prediction_log.imports.models import Import
from inference.prediction_log.models import PredictionRow
from inference.registry.files import datasets
from inference.registry.models import Dataset, Deployment, Model, Version
from inference.registry.versions import external_version
from monitors import deletion
from tests.driftline.api.conftest import Api
from tests.driftline.api.shape import assert_problem

pytestmark = pytest.mark.slow

PREDICTIONS = b"id,timestamp,prediction,x\n" + b"".join(
    b"p-%d,2026-01-05T00:00:%02dZ,1,2.5\n" % (n, n) for n in range(30)
)
REFERENCE = b"x,label\n" + b"1.5,0\n2.5,1\n" * 20


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture(autouse=True)
def model(flights: Model) -> Model:
    return flights


@pytest.fixture
def job(api: Api) -> int:
    """An import that is done."""
    number = api.post("/models/flights/imports/predictions", PREDICTIONS, content_type="text/csv").json()[
        "id"
    ]
    services.resume_import(number)
    return int(number)


def delete(api: Api, path: str, name: str) -> Any:
    """Ask first without the name, see what would go, then confirm."""
    asked = api.send("DELETE", path)
    problem = assert_problem(asked, 409, "confirmation_needed")
    assert f"confirm={name}" in problem["detail"]
    return problem["detail"], api.send("DELETE", f"{path}?confirm={name}")


def test_a_wrong_import_is_undone(api: Api, job: int) -> None:
    detail, answer = delete(api, f"/models/flights/imports/{job}", "upload")

    assert "30 predictions with their labels" in detail
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    services.resume_import(job)
    assert api.get(f"/models/flights/imports/{job}").json()["state"] == "removed"
    assert not PredictionRow.objects.exists()
    assert_problem(api.send("DELETE", f"/models/flights/imports/{job}?confirm=upload"), 409, "import_removed")


def test_a_model_goes_with_what_depends_on_it(api: Api, job: int) -> None:
    detail, answer = delete(api, "/models/flights", "flights")

    assert "30 logged predictions; 1 version; 1 import" in detail
    assert answer.status_code == 204
    assert not Model.objects.exists()
    assert not Import.objects.exists()
    assert not PredictionRow.objects.exists()
    assert_problem(api.get("/models/flights"), 404)


def test_a_wrong_name_deletes_nothing(api: Api) -> None:
    answer = api.send("DELETE", "/models/flights?confirm=flight")

    assert "'flight' is not its name." in assert_problem(answer, 409, "confirmation_needed")["detail"]
    assert Model.objects.exists()


def test_versions_references_and_data_sets_are_deleted(api: Api, job: int) -> None:
    for version in ("1", "2"):
        api.send("PUT", f"/models/flights/reference?version={version}", REFERENCE, content_type="text/csv")
    [second, first] = api.get("/models/flights/datasets").json()["items"]
    reference = api.get("/models/flights/reference?version=1").json()["id"]

    assert_problem(api.send("DELETE", "/models/flights/versions/1?confirm=1"), 409, "version_in_use")
    assert delete(api, f"/models/flights/references/{reference}", "1")[1].status_code == 204
    assert_problem(api.send("DELETE", f"/models/flights/datasets/{first['id']}"), 404)
    detail, answer = delete(api, f"/models/flights/datasets/{second['id']}", second["name"])
    assert "the reference of version 2" in detail
    assert answer.status_code == 204
    assert delete(api, "/models/flights/versions/2", "2")[1].status_code == 204
    assert not Dataset.objects.exists()
    assert [one.version for one in Version.objects.all()] == ["1"]


def test_an_archived_model_is_listed_apart(api: Api) -> None:
    archived = api.send("PATCH", "/models/flights", {"archived": True}).json()

    assert archived["archived_at"] is not None
    assert api.get("/models").json()["items"] == []
    assert [one["name"] for one in api.get("/models?archived=true").json()["items"]] == ["flights"]
    assert api.send("PATCH", "/models/flights", {"archived": False}).json()["archived_at"] is None


def test_another_project_deletes_nothing(api: Api, job: int, stranger: Api) -> None:
    for path in ("", "/versions/1", f"/imports/{job}", "/references/1", "/datasets/1"):
        assert_problem(stranger.send("DELETE", f"/models/flights{path}?confirm=flights"), 404)
    assert Model.objects.exists()


def test_a_version_that_is_promoted_meanwhile_stays(
    api: Api, job: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = external_version(model=Model.objects.get(), version="2")
    check = deletion.check_confirmed

    def promote_meanwhile(*asked: Any) -> None:
        check(*asked)
        Deployment.objects.update(champion=version)

    monkeypatch.setattr(deletion, "check_confirmed", promote_meanwhile)
    answer = api.send("DELETE", "/models/flights/versions/2?confirm=2")

    assert_problem(answer, 409, "version_in_use")
    assert Version.objects.filter(pk=version.pk).exists()


def test_the_same_table_stored_while_it_is_deleted_keeps_its_file(
    api: Api, model: Model, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.send("PUT", "/models/flights/reference", REFERENCE, content_type="text/csv")
    first = Dataset.objects.get()
    write = datasets.write_table

    def delete_after(table: pa.Table) -> tuple[Path, str]:
        monkeypatch.setattr(datasets, "write_table", write)
        written = write(table)
        deletion.delete_dataset(dataset=first, confirm=deletion.name_of(first), actor="test")
        return written

    monkeypatch.setattr(datasets, "write_table", delete_after)
    api.send("PUT", "/models/flights/reference", REFERENCE, content_type="text/csv")

    second = Dataset.objects.get()
    assert second.path == first.path
    assert (home / second.path).exists()
