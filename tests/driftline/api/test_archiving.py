"""Versions, references and data sets are archived over HTTP: not listed, restored, and never while in use."""

from pathlib import Path
from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry
from inference.prediction_log.models import PredictionRow
from inference.registry.models import Deployment, Model, Version
from inference.registry.versions import external_version
from monitors.definitions.models import Reference
from tests.driftline.api.conftest import Api
from tests.driftline.api.shape import assert_problem

CSV = b"x,label\n" + b"1.5,0\n2.5,1\n" * 20
PATH = "/models/flights"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture(autouse=True)
def model(flights: Model) -> Model:
    """A model with its champion, version 1, and version 2, which is not deployed."""
    for version in ("1", "2"):
        external_version(model=flights, version=version)
    return flights


def archive(api: Api, path: str, *, archived: bool = True) -> Any:
    return api.send("PATCH", f"{PATH}/{path}", {"archived": archived})


def listed(api: Api, kind: str, key: str = "id", *, archived: bool = False) -> list[Any]:
    return [one[key] for one in api.get(f"{PATH}/{kind}?archived={str(archived).lower()}").json()["items"]]


def put_reference(api: Api) -> int:
    answer = api.send("PUT", f"{PATH}/reference?version=1", CSV, content_type="text/csv")
    return int(answer.json()["id"])


class TestVersion:
    def test_is_not_listed_until_it_is_restored(self, api: Api) -> None:
        away = archive(api, "versions/2").json()

        assert away["archived_at"] is not None
        assert listed(api, "versions", "version") == ["1"]
        assert listed(api, "versions", "version", archived=True) == ["2"]
        assert archive(api, "versions/2", archived=False).json()["archived_at"] is None
        assert listed(api, "versions", "version") == ["2", "1"]

    def test_leaves_an_audit_row_of_each_change_and_none_of_a_repetition(self, api: Api) -> None:
        for archived in (True, True, False, False):
            archive(api, "versions/2", archived=archived)

        entries = AuditEntry.objects.filter(subject="flights 2", action__startswith="version.")
        assert list(entries.order_by("pk").values_list("action", flat=True)) == [
            "version.archive", "version.restore",
        ]  # fmt: skip

    @pytest.mark.parametrize("use", ["champion", "previous", "canary", "shadow", "alias"])
    def test_is_refused_while_it_is_in_use(self, api: Api, model: Model, use: str) -> None:
        deployment, version = Deployment.objects.get(model=model), Version.objects.get(version="2")
        if use == "alias":
            version.aliases.create(model=model, name="stable")
        elif use == "shadow":
            deployment.shadows.add(version)
        elif use == "canary":
            now = version.created_at
            Deployment.objects.filter(model=model).update(canary=version, canary_weight=0.1, canary_since=now)
        else:
            Deployment.objects.filter(model=model).update(**{use: version})

        assert_problem(archive(api, "versions/2"), 409, "version_in_use")

        assert listed(api, "versions", "version") == ["2", "1"]

    @pytest.mark.parametrize("what", ["promote", "shadow"])
    def test_is_not_deployed(self, api: Api, model: Model, what: str) -> None:
        Version.objects.filter(version="2").update(
            endpoint={"protocol": "v2", "url": "http://there", "model": "m"}
        )
        archive(api, "versions/2")
        generation = str(Deployment.objects.get(model=model).generation)

        refused = (
            api.send("POST", f"{PATH}/promote", {"version": "2"}, If_Match=generation)
            if what == "promote"
            else api.send("PATCH", f"{PATH}/deployment", {"shadows": ["2"]}, If_Match=generation)
        )

        assert "restore it" in assert_problem(refused, 409, "version_archived")["detail"]


class TestReference:
    def test_is_not_listed_or_read_until_it_is_restored(self, api: Api) -> None:
        older, newer = put_reference(api), put_reference(api)
        Reference.objects.filter(pk=newer).update(state="failed")

        assert archive(api, f"references/{newer}").json()["archived_at"] is not None

        assert (listed(api, "references"), listed(api, "references", archived=True)) == ([older], [newer])
        assert api.get(f"{PATH}/reference").json()["id"] == older
        archive(api, f"references/{newer}", archived=False)
        assert listed(api, "references") == [newer, older]
        actions = AuditEntry.objects.filter(action__in=["reference.archive", "reference.restore"])
        assert actions.count() == 2

    @pytest.mark.parametrize("fields", [{"state": "ready", "is_active": True}, {"state": "building"}])
    def test_is_refused_while_windows_are_compared_with_it_or_will_be(
        self, api: Api, fields: dict[str, Any]
    ) -> None:
        reference = put_reference(api)
        Reference.objects.filter(pk=reference).update(**fields)

        assert_problem(archive(api, f"references/{reference}"), 409, "reference_in_use")

        assert listed(api, "references") == [reference]

    def test_is_not_what_a_chosen_file_means(self, api: Api) -> None:
        reference = put_reference(api)
        Reference.objects.filter(pk=reference).update(state="failed")
        archive(api, f"references/{reference}")

        assert_problem(api.post(f"{PATH}/reference", {"kind": "file"}), 409, "no_reference")


class TestDataset:
    def test_is_not_listed_until_it_is_restored(self, api: Api) -> None:
        Reference.objects.filter(pk=put_reference(api)).update(state="failed")
        [dataset] = listed(api, "datasets")

        assert archive(api, f"datasets/{dataset}").json()["archived_at"] is not None

        assert (listed(api, "datasets"), listed(api, "datasets", archived=True)) == ([], [dataset])
        archive(api, f"datasets/{dataset}", archived=False)
        assert listed(api, "datasets") == [dataset]
        assert AuditEntry.objects.filter(action__in=["dataset.archive", "dataset.restore"]).count() == 2

    def test_is_refused_while_it_is_the_current_reference(self, api: Api) -> None:
        Reference.objects.filter(pk=put_reference(api)).update(state="ready", is_active=True)
        [dataset] = listed(api, "datasets")

        assert_problem(archive(api, f"datasets/{dataset}"), 409, "dataset_in_use")


def test_nothing_is_deleted_and_others_see_nothing(api: Api, stranger: Api) -> None:
    reference = put_reference(api)
    paths = ("versions/2", f"references/{reference}", f"datasets/{listed(api, 'datasets')[0]}")

    for path in paths:
        assert_problem(archive(stranger, path), 404)
        assert_problem(archive(api, path.rsplit("/", 1)[0] + "/999999"), 404)

    assert (Version.objects.count(), Reference.objects.count()) == (2, 1)
    assert not PredictionRow.objects.exists()
