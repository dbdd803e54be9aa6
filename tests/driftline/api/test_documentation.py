"""The schema and the page that is made of it."""

import re

from django.test import Client

from driftline.accounts.scopes import Scope
from driftline.api.v1 import api
from tests.driftline.route_matrix import ROUTES


def test_every_route_is_in_the_schema_with_a_description(db: None) -> None:
    schema = Client().get("/api/v1/openapi.json").json()

    described = {
        (method.upper(), path): operation["description"]
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }
    expected = {
        (route.method, "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.path))
        for route in ROUTES
        if route.takes in Scope
    }
    assert set(described) == expected
    assert all(text.endswith(".") for text in described.values())


def test_every_operation_says_that_it_needs_a_token(db: None) -> None:
    schema = Client().get("/api/v1/openapi.json").json()

    operations = [operation for methods in schema["paths"].values() for operation in methods.values()]

    assert all(operation["security"] for operation in operations)


def test_the_page_lists_every_operation_and_loads_nothing_from_elsewhere(db: None) -> None:
    answer = Client().get("/api/v1/docs")

    page = answer.content.decode()
    assert page.count("<details") == sum(route.takes in Scope for route in ROUTES)
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert "unsafe-eval" not in answer["Content-Security-Policy"]


def test_the_schema_is_written_once() -> None:
    assert api.get_openapi_schema() is api.get_openapi_schema()
