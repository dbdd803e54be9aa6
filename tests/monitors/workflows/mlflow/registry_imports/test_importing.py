"""Every registered model of a registry becomes a model with its versions, once, whatever fails in between."""

from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.keys.secrets_at_rest import decrypt
from driftline.operations.long_work import run_next
from inference.registry.models import Deployment, Model, Version
from inference.registry.services import create_model
from monitors.workflows.mlflow.following import poll
from monitors.workflows.mlflow.models import MlflowConnection, MlflowVersion
from monitors.workflows.mlflow.registry_imports import importing
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, RegistryImport
from tests.monitors.workflows.mlflow.conftest import SECRET, make_due, train, work
from tests.monitors.workflows.mlflow.registry_imports.conftest import Api, imported, listed, models, outcomes
from tests.monitors.workflows.mlflow.registry_imports.registry import MLMODEL, SKLEARN, ManyModels
from tests.monitors.workflows.remote.service import Service

pytestmark = pytest.mark.slow


def champion_of(name: str) -> str:
    champion = Deployment.objects.get(model__name=name).champion
    assert champion is not None
    return champion.version


def test_the_champion_of_mlflow_answers_and_the_challenger_comes_along(
    api: Api, service: Service, registry: ManyModels, older: bytes, better: bytes
) -> None:
    registry.add("flights", better, older, train(turned=True, rows=900), champion="2", challenger="1")
    registry.add("trains", better, older)

    found = imported(api, service)

    assert outcomes(found["flights"]) == [("2", "imported"), ("1", "imported")]
    assert outcomes(found["trains"]) == [("2", "imported")]  # no alias: the newest
    assert {one["state"] for one in found.values()} == {"done"}
    assert (champion_of("flights"), champion_of("trains")) == ("2", "2")
    version = Version.objects.get(model__name="flights", version="2")
    assert version.lineage["parameters"] == {"server": "mlflow", "run_id": "4f1c"}
    assert version.lineage["uri"] == found["flights"]["versions"][0]["url"]
    assert version.model.task == "binary"  # as the file tells
    assert version.signature is not None
    assert [feature["name"] for feature in version.signature["features"]] == ["wind", "load"]


def test_a_version_of_the_stage_production_counts_as_its_alias(
    api: Api, service: Service, registry: ManyModels, older: bytes, better: bytes
) -> None:
    flights = registry.add("flights", older, better)
    flights.versions["1"].stage = "Production"

    found = imported(api, service)

    assert outcomes(found["flights"]) == [("1", "imported")]


def test_all_versions_come_where_that_is_asked_for(
    api: Api, service: Service, registry: ManyModels, older: bytes, better: bytes
) -> None:
    flights = registry.add("flights", older, better, train(turned=True, rows=900), champion="1")
    flights.versions["2"].status = "FAILED_REGISTRATION"

    found = imported(api, service, versions="all")

    assert outcomes(found["flights"]) == [("1", "imported"), ("3", "imported")]
    assert champion_of("flights") == "1"


def test_what_is_imported_again_is_known_and_not_downloaded(
    api: Api, service: Service, registry: ManyModels, older: bytes, better: bytes
) -> None:
    registry.add("flights", older, better, champion="1", challenger="2")
    imported(api, service)
    before = len(service.requests("GET", "get-artifact"))

    again = imported(api, service)

    assert outcomes(again["flights"]) == [("1", "known"), ("2", "known")]
    assert len(service.requests("GET", "get-artifact")) == before
    assert Version.objects.count() == 2
    assert Model.objects.count() == 1


def test_a_model_that_is_there_keeps_its_champion_and_a_version_that_is_another_its_name(
    api: Api, service: Service, registry: ManyModels, older: bytes, better: bytes
) -> None:
    registry.add("flights", older)
    imported(api, service)
    registry.models["flights"].versions["2"] = registry.models["flights"].versions["1"]
    registry.add("flights", better, train(turned=True, rows=900), champion="2")
    Version.objects.update(lineage={})  # somebody had uploaded it

    found = imported(api, service, versions="all")

    assert outcomes(found["flights"]) == [("2", "imported"), ("1", "refused")]
    assert "Version 1 exists and holds something else" in found["flights"]["versions"][1]["reason"]
    assert champion_of("flights") == "1"


class TestAVersionThatCannotBeImported:
    def test_is_refused_with_the_reason_while_others_go_on(
        self, api: Api, service: Service, registry: ManyModels, older: bytes, better: bytes
    ) -> None:
        flights = registry.add("flights", older, b"no onnx", better, champion="2", challenger="3")
        flights.versions["2"].mlmodel = SKLEARN
        trains = registry.add("trains", b"<html>", older)
        trains.aliases = {"challenger": "1"}

        found = imported(api, service)

        refused, came = found["flights"]["versions"]
        assert (refused["outcome"], came["outcome"]) == ("refused", "imported")
        assert "the flavor sklearn and no ONNX" in refused["reason"]
        assert found["flights"]["state"] == "done"
        assert found["trains"]["state"] == "failed"
        assert "None of its versions could be imported" in found["trains"]["error"]
        assert "ONNX" in found["trains"]["versions"][0]["reason"]
        assert not Model.objects.filter(name="trains").exists()

    def test_comes_once_it_is_mended_and_tried_again(
        self, api: Api, service: Service, registry: ManyModels, older: bytes, better: bytes
    ) -> None:
        registry.add("flights", older, better, mlmodel=SKLEARN, champion="1", challenger="2")
        number = listed(api, service)
        api("POST", f"/{number}/start")
        work()
        assert models(api, number)["flights"]["state"] == "failed"

        for version in registry.models["flights"].versions.values():
            version.mlmodel = MLMODEL
        status, tried = api("POST", f"/{number}/retry")
        work()

        assert (status, tried) == (200, {"started": 1})
        assert outcomes(models(api, number)["flights"]) == [("1", "imported"), ("2", "imported")]

    def test_of_which_the_file_tells_no_task_needs_one(
        self, api: Api, service: Service, registry: ManyModels, better: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(importing, "infer_task", lambda findings, metadata: None)
        registry.add("flights", better)
        number = listed(api, service)
        api("POST", f"/{number}/start")
        work()
        assert "name the task" in models(api, number)["flights"]["versions"][0]["reason"]

        _, started = api("POST", f"/{number}/start", body={"task": "binary"})
        work()

        assert started == {"started": 1}
        assert models(api, number)["flights"]["state"] == "done"
        assert Model.objects.get().task == "binary"


class TestARegistryThatFails:
    def test_in_mid_download_is_taken_up_again_at_the_version_that_is_missing(
        self, api: Api, service: Service, registry: ManyModels, older: bytes, better: bytes
    ) -> None:
        registry.add("flights", older, better, champion="1", challenger="2")
        registry.cuts, registry.cut_after = 1, 1
        number = listed(api, service)
        api("POST", f"/{number}/start")

        work()

        waiting = models(api, number)["flights"]
        assert (waiting["state"], outcomes(waiting)) == ("waiting", [("1", "imported"), ("2", "waiting")])
        assert "connection_error" in waiting["error"]
        make_due(ImportedModel.objects.all())
        work()
        done = models(api, number)["flights"]
        assert (done["state"], outcomes(done)) == ("done", [("1", "imported"), ("2", "imported")])
        assert [one["error"] for one in (done,)] == [None]

    def test_for_one_file_again_and_again_passes_its_version_over(
        self, api: Api, service: Service, registry: ManyModels, older: bytes, better: bytes
    ) -> None:
        registry.add("flights", older, better, champion="1", challenger="2")
        registry.cuts = importing.PATIENCE_FAILURES + 1  # of the first version, which comes first
        number = listed(api, service)
        api("POST", f"/{number}/start")
        for _ in range(importing.PATIENCE_FAILURES + 2):
            make_due(ImportedModel.objects.all())
            work()

        done = models(api, number)["flights"]
        assert (done["state"], outcomes(done)) == ("done", [("1", "refused"), ("2", "imported")])

    def test_before_it_was_listed_is_asked_again(
        self, api: Api, service: Service, registry: ManyModels, better: bytes
    ) -> None:
        registry.is_away = True
        registry.add("flights", better)
        number = listed(api, service)
        assert "503" in api("GET", f"/{number}")[1]["error"]

        registry.is_away = False
        api("POST", f"/{number}/retry")
        work()

        assert api("GET", f"/{number}")[1]["state"] == "listed"

    def test_with_the_login_fails_at_once_and_does_not_show_it(
        self, api: Api, service: Service, registry: ManyModels
    ) -> None:
        registry.is_restricted = True

        number = listed(api, service)

        _, found = api("GET", f"/{number}")
        assert found["state"] == "failed"
        assert "Basic *** has no permission" in found["error"]
        assert SECRET not in str(list(AuditEntry.objects.values_list("after", flat=True)))


def test_a_long_import_goes_through_several_tasks(
    api: Api, service: Service, registry: ManyModels, older: bytes, better: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(importing, "SLICE_SECONDS", -1.0)
    registry.add("flights", older, better, champion="1", challenger="2")
    number = listed(api, service)
    api("POST", f"/{number}/start")

    run_next()

    between = models(api, number)["flights"]
    assert (between["state"], outcomes(between)) == ("waiting", [("1", "imported"), ("2", "waiting")])
    work()
    done = models(api, number)["flights"]
    assert (done["state"], outcomes(done)) == ("done", [("1", "imported"), ("2", "imported")])


class TestAWorkerThatDies:
    def test_after_a_version_was_registered_leaves_it_to_the_next_one_as_known(
        self, api: Api, service: Service, registry: ManyModels, better: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry.add("flights", better)
        number = listed(api, service)
        api("POST", f"/{number}/start")

        def die(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(importing, "_write", die)
            with pytest.raises(KeyboardInterrupt):
                work()
        ImportedModel.objects.update(lease_until=None)
        work()

        assert outcomes(models(api, number)["flights"]) == [("1", "known")]
        assert Version.objects.count() == 1


class TestModelsThatAreFollowed:
    def test_are_connected_and_their_challenger_is_compared(
        self, api: Api, service: Service, registry: ManyModels, older: bytes, better: bytes
    ) -> None:
        registry.add("flights", older, better, champion="1", challenger="2")

        found = imported(api, service, follow=True)

        assert found["flights"]["note"] is None
        connection = MlflowConnection.objects.get(model__name="flights")
        assert (connection.url, connection.registered_model) == (service.url, "flights")
        assert decrypt(connection.secret) == SECRET
        champion = MlflowVersion.objects.get()
        assert (champion.number, champion.state) == ("1", "champion")
        assert champion.version == Version.objects.get(version="1")

        poll(connection.pk)
        work()

        challenger = MlflowVersion.objects.get(number="2")
        assert challenger.version == Version.objects.get(version="2")  # no second copy

    def test_keep_a_connection_that_they_have(
        self, api: Api, service: Service, registry: ManyModels, project: Project, better: bytes
    ) -> None:
        model = create_model(project=project, name="flights", task="binary", actor="ada")
        MlflowConnection.objects.create(
            model=model, url="https://mlflow.example.com", registered_model="other", webhook_token="t",
            webhook_secret=b"",
        )  # fmt: skip
        registry.add("flights", better)

        found = imported(api, service, follow=True)

        assert found["flights"]["note"] == "It follows other at https://mlflow.example.com, which stays."
        assert MlflowConnection.objects.get().registered_model == "other"


def test_an_import_that_is_forgotten_in_between_ends_and_takes_its_secret_with_it(
    api: Api, service: Service, registry: ManyModels, older: bytes, better: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    registry.add("flights", older, better, champion="1", challenger="2")
    number = listed(api, service)
    api("POST", f"/{number}/start")
    write = importing._write

    def write_then_forget(*arguments: Any, **values: Any) -> None:
        write(*arguments, **values)
        assert api("DELETE", f"/{number}")[0] == 204

    monkeypatch.setattr(importing, "_write", write_then_forget)
    work()

    assert api("GET", f"/{number}")[0] == 404
    assert Version.objects.count() == 1
    assert not RegistryImport.objects.exists()
