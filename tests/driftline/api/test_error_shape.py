"""Failures that no single address has are of the one shape too; `test_routes.py` walks those of each address."""

from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from driftline.base.outbound.transport import HOP_HEADER
from tests.driftline.api.conftest import Api
from tests.driftline.api.shape import assert_problem
from tests.worlds.every_kind import World, furnish

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


@pytest.fixture(scope="module")
def world(api: Api) -> World:
    return furnish(api.project)


def test_a_webhook_of_ours_is_refused_whatever_it_carries(api: Api) -> None:
    answer = api.client.post(
        "/api/v1/models", b"{}", content_type="application/json",
        headers={"Authorization": f"Bearer {api.text}", HOP_HEADER: "1"},
    )  # fmt: skip

    assert_problem(answer, 508)
    assert answer.json()["code"] == "loop_detected"


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1/", "/api/v2/models", "/api/v1/nothing"])
def test_an_unknown_path_below_api_is_a_problem(path: str) -> None:
    assert_problem(Client().get(path), 404, "not_found")


def test_an_unknown_page_is_html() -> None:
    answer = Client().get("/nothing")

    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/html")


def test_a_405_names_what_is_offered(api: Api) -> None:
    answer = api.send("DELETE", "/models")

    assert_problem(answer, 405, "method_not_allowed")
    assert answer["Allow"] == "GET, POST"


class TestFaultsOfTheServer:
    def test_tell_nothing_of_the_inside(self, api: Api, world: World, monkeypatch: Any) -> None:
        monkeypatch.setattr("driftline.api.models.progress_of", broken(RuntimeError("secret")))

        answer = api.get("/models/flights")

        assert_problem(answer, 500, "internal_error")
        assert b"secret" not in answer.content

    def test_of_the_database_ask_to_come_again(self, api: Api, world: World, monkeypatch: Any) -> None:
        monkeypatch.setattr("driftline.api.models.progress_of", broken(OperationalError("gone")))

        answer = api.get("/models/flights")

        assert assert_problem(answer, 503, "storage_unavailable")["retry_after"] == 5
        assert answer["Retry-After"] == "5"


def broken(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail
