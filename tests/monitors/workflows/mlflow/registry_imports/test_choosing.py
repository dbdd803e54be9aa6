"""What is listed of a registry, and what may be chosen of it."""

from typing import Any

import pytest

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.workflows.mlflow.registry_imports import catalogue
from monitors.workflows.mlflow.registry_imports.catalogue import MAX_MODELS
from monitors.workflows.mlflow.registry_imports.models import RegistryImport
from monitors.workflows.mlflow.registry_imports.naming import propose_names
from tests.monitors.workflows.mlflow.conftest import work
from tests.monitors.workflows.mlflow.registry_imports.conftest import Api, api_of, listed, models
from tests.monitors.workflows.mlflow.registry_imports.registry import ManyModels
from tests.monitors.workflows.remote.service import Service


class TestNames:
    @pytest.mark.parametrize(
        ("registered", "name"),
        [
            ("flights", "flights"),
            ("Delay of flights", "Delay-of-flights"),
            ("prod.models.delay", "prod.models.delay"),
            ("Verspätung", "Verspatung"),
            ("  -x- ", "x"),
            ("遅延", ""),
            ("new", ""),
            ("..", ""),
            ("a" * 250, "a" * 100),
        ],
    )
    def test_are_made_of_those_of_mlflow(self, registered: str, name: str) -> None:
        proposed = propose_names([registered])[registered]

        assert proposed.name == name
        assert bool(proposed.fault) == (registered != name)

    def test_are_never_the_same_for_two(self) -> None:
        proposed = propose_names(["a b", "a-b", "a/b", "a_b"])

        assert {name: one.name for name, one in proposed.items()} == {
            "a-b": "a-b",
            "a b": "",
            "a/b": "",
            "a_b": "a_b",
        }
        assert proposed["a/b"].fault == "a-b is a-b here already; choose another name."


class TestAList:
    @pytest.mark.slow
    def test_is_read_page_by_page(self, api: Api, service: Service, registry: ManyModels) -> None:
        registry.page_size = 2
        for place in range(5):
            registry.add(f"m{place}")

        number = listed(api, service)

        assert list(models(api, number)) == ["m0", "m1", "m2", "m3", "m4"]
        assert api("GET", f"/{number}")[1]["listed"] == 5
        assert not Model.objects.exists()

    @pytest.mark.slow
    def test_has_only_the_names_that_were_asked_for(
        self, api: Api, service: Service, registry: ManyModels
    ) -> None:
        for name in ("Delay of flights", "delay of trains", "fraud"):
            registry.add(name)

        assert list(models(api, listed(api, service, search="DELAY"))) == [
            "Delay of flights",
            "delay of trains",
        ]

    @pytest.mark.slow
    def test_of_ten_thousand_models_says_how_to_ask_for_fewer(
        self, api: Api, service: Service, registry: ManyModels
    ) -> None:
        for place in range(10_000):
            registry.add(f"m{place}")

        number = listed(api, service)
        narrow = listed(api, service, search="m9999")

        _, found = api("GET", f"/{number}")
        assert (found["state"], found["listed"]) == ("failed", 0)
        assert f"more than {MAX_MODELS} registered models; give a part of their names" in found["error"]
        assert list(models(api, narrow)) == ["m9999"]

    def test_ends_where_more_are_to_be_looked_at_than_is_allowed(
        self, api: Api, service: Service, registry: ManyModels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(catalogue, "MAX_LOOKED_AT", 3)
        for place in range(5):
            registry.add(f"m{place}")

        _, found = api("GET", f"/{listed(api, service, search='none')}")

        assert "more than 3 registered models" in found["error"]

    def test_of_a_server_that_names_the_same_page_for_ever_ends(
        self, api: Api, service: Service, registry: ManyModels
    ) -> None:
        registry.add("flights")
        registry.next_page = "0"

        _, found = api("GET", f"/{listed(api, service)}")

        assert "the same one again" in found["error"]

    @pytest.mark.slow
    def test_of_a_server_that_is_no_mlflow_is_not_made(self, api: Api, service: Service) -> None:
        service.rules = lambda asked: (200, {"registered_models": {"name": "x"}})

        _, found = api("GET", f"/{listed(api, service)}")

        assert "is it MLflow?" in found["error"]


class TestAChoice:
    @pytest.fixture
    def number(self, api: Api, service: Service, registry: ManyModels) -> int:
        for name in ("a b", "a-b", "new"):
            registry.add(name)
        return listed(api, service)

    @pytest.mark.slow
    def test_of_all_leaves_out_what_has_no_name_here(self, api: Api, number: int) -> None:
        assert api("POST", f"/{number}/start")[1] == {"started": 1}

        work()
        found = models(api, number)
        assert {name: one["state"] for name, one in found.items()} == {
            "a b": "listed",
            "a-b": "failed",
            "new": "listed",
        }
        assert "no version that is ready" in found["a-b"]["error"]

    def test_may_name_them(self, api: Api, number: int) -> None:
        chosen = [{"registered_model": "new", "name": "newest"}, {"registered_model": "a b", "name": "a.b"}]

        assert api("POST", f"/{number}/start", body={"models": chosen})[1] == {"started": 2}
        assert {one["name"] for one in models(api, number).values()} == {"newest", "a.b", "a-b"}

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"models": [{"registered_model": "new"}]}, "/models/0/name"),
            ({"models": [{"registered_model": "a b", "name": "x/y"}]}, "/models/0/name"),
            (
                {"models": [{"registered_model": "a-b"}, {"registered_model": "a b", "name": "a-b"}]},
                "/models/1/name",
            ),
            ({"models": [{"registered_model": "other"}]}, "/models/0/registered_model"),
            ({"models": [{"registered_model": "a-b"}, {"registered_model": "a-b"}]}, "/models"),
            ({"versions": "newest"}, "/versions"),
            ({"task": "guess"}, "/task"),
            ({"later": True}, "/later"),
        ],
    )
    def test_that_cannot_be_is_refused_at_its_field(
        self, api: Api, number: int, body: dict[str, Any], pointer: str
    ) -> None:
        status, refused = api("POST", f"/{number}/start", body=body)

        assert (status, refused["errors"][0]["pointer"]) == (422, pointer)
        assert {one["state"] for one in models(api, number).values()} == {"listed"}

    def test_before_the_list_is_there_has_to_wait(self, api: Api, service: Service) -> None:
        _, made = api("POST", body={"url": service.url})

        assert api("POST", f"/{made['id']}/start")[0] == 409

    def test_needs_the_right_to_make_models_where_it_makes_some(self, project: Project, number: int) -> None:
        deployer = api_of(project, "read", "deploy")

        status, refused = deployer("POST", f"/{number}/start")

        assert (status, refused["code"]) == (403, "insufficient_scope")
        assert {one["state"] for one in models(deployer, number).values()} == {"listed"}
        create_model(project=project, name="a-b", task="binary", actor="ada")
        assert deployer("POST", f"/{number}/start")[1] == {"started": 1}  # it makes none


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"url": "http://10.0.0.1"}, "/url"),
        ({"url": "ftp://example.com"}, "/url"),
        ({"url": "http://127.0.0.1:8900/?a=b"}, "/url"),
        ({"url": "http://127.0.0.1:8900", "secret": "ü"}, "/secret"),
        ({"url": "http://127.0.0.1:8900", "search": "a" * 101}, "/search"),
    ],
)
def test_a_registry_that_could_never_be_asked_is_refused_at_its_field(
    api: Api, body: dict[str, str], pointer: str
) -> None:
    status, refused = api("POST", body=body)

    assert (status, refused["errors"][0]["pointer"]) == (422, pointer)
    assert not RegistryImport.objects.exists()


@pytest.mark.slow
def test_imports_of_another_project_are_not_seen(api: Api, service: Service, registry: ManyModels) -> None:
    registry.add("flights")
    number = listed(api, service)
    stranger = api_of(Project.objects.create(slug="quay", name="Quay"))

    assert stranger("GET")[1]["items"] == []
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/models"),
        ("POST", "/start"),
        ("POST", "/retry"),
    ):
        assert stranger(method, f"/{number}{path}")[0] == 404
    assert [one["id"] for one in api("GET")[1]["items"]] == [number]
