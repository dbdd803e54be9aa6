"""The schema and the page that is made of it."""

import re
from types import UnionType
from typing import Any, TypeAliasType, Union, get_args, get_origin, get_type_hints

import orjson
from django.http import HttpResponse
from django.test import Client
from ninja.responses import Status

from driftline.api.v1 import ROUTERS, api
from tests.driftline.api.described import description
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
        if route.is_operation
    }
    assert set(described) == expected
    assert all(text.endswith(".") for text in described.values())


def test_every_operation_says_that_it_needs_a_token_unless_it_is_signed(db: None) -> None:
    schema = Client().get("/api/v1/openapi.json").json()

    without = {
        (method.upper(), path)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if not operation.get("security")
    }

    assert without == {
        (route.method, "/" + route.path.replace("<", "{").replace(">", "}"))
        for route in ROUTES
        if route.takes == "signed"
    }


def test_every_answer_is_described_and_every_failure_is_a_problem() -> None:
    for method, path, operation in operations():
        answers = dict(operation["responses"])
        for failures in ("4XX", "5XX"):
            schema = answers.pop(failures)["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ProblemOut"}, (method, path)
        assert answers, (method, path)
        for status, answer in answers.items():
            assert ("content" in answer) == (status not in {"204", "304"}), (method, path, status)


def test_every_reference_is_to_a_component() -> None:
    text = orjson.dumps(description()).decode()

    references = set(re.findall(r'"\$ref":"([^"]*)"', text))
    assert references == {f"#/components/schemas/{name}" for name in description()["components"]["schemas"]}


def test_operations_are_named_after_their_functions_once() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]

    assert len(names) == len(set(names))
    assert {"list_models", "receive_predictions", "read_metrics"} <= set(names)


def test_a_route_returns_the_type_that_it_declares() -> None:
    """So that the type checker, which reads the annotation, checks what openapi.json says."""
    for router in ROUTERS:
        for view in router.path_operations.values():
            for operation in view.operations:
                declared = {
                    model.model_fields["response"].annotation
                    for model in operation.response_models.values()
                    if hasattr(model, "model_fields")
                }
                returned = returned_types(get_type_hints(operation.view_func)["return"])
                assert declared <= returned or returned == {HttpResponse}, operation.view_func


def returned_types(annotation: Any) -> set[Any]:
    """List the types that an annotation allows, of a Status those of its body."""
    if isinstance(annotation, TypeAliasType):
        return returned_types(annotation.__value__)
    if get_origin(annotation) is Status:
        return set(get_args(annotation))
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return {annotation}.union(*map(returned_types, get_args(annotation)))
    return {annotation}


def operations() -> list[tuple[str, str, Any]]:
    return [
        (method, path, operation)
        for path, methods in description()["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_page_lists_every_operation_and_loads_nothing_from_elsewhere(db: None) -> None:
    answer = Client().get("/api/v1/docs")

    page = answer.content.decode()
    assert page.count("<details") == sum(route.is_operation for route in ROUTES)
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert "unsafe-eval" not in answer["Content-Security-Policy"]


def test_the_schema_is_written_once() -> None:
    assert api.get_openapi_schema() is api.get_openapi_schema()
