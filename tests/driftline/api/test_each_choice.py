"""Each operation is sent what openapi.json describes, once for each choice of a field, and answers as it describes."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import transaction

from tests.driftline.api.conftest import Api
from tests.driftline.api.described import description
from tests.driftline.route_matrix import ROUTES, Route
from tests.worlds.every_kind import furnish

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
NAMED = {
    "model": "flights", "version": "1", "challenger": "1", "task": "binary", "metric": "accuracy", "span": "auto",
    "expression": "sum(a)", "conditions": [{"feature": "a", "lower": 0}], "features": {"a": {"least": 0}},
    "url": "https://127.0.0.1", "email": "somebody@example.com",
    "to": "2026-01-02T00:00:00Z", "end": "2026-01-02T00:00:00Z", "members": [], "scopes": ["read"],
    "allowed_networks": [], "role": "viewer",
}  # fmt: skip
"""What fields of these names are sent; of others their first choice, or what fits their type."""


def test_is_answered_without_a_failure(api: Api, subtests: pytest.Subtests) -> None:
    world = furnish(api.project)
    for route in (one for one in ROUTES if one.needs_token and one.path.startswith("api/v1/")):
        for query, body in requests_of(route):
            with subtests.test(f"{route.method} {route.path}", query=query, body=body), transaction.atomic():
                path = "/" + world.fill(route.path).removeprefix("api/v1/")
                answer = api.send(route.method, f"{path}?{urlencode(query)}", body, If_Match="1")

                assert answer.status_code < 500
                if answer.streaming:
                    answer.getvalue()
                transaction.set_rollback(True)


def requests_of(route: Route) -> Iterator[tuple[dict[str, Any], Any]]:
    """Make the query and the body of each request, from what is required and one choice at a time."""
    operation = description()["paths"]["/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.path)][
        route.method.lower()
    ]
    parameters = [one for one in operation.get("parameters", ()) if one["in"] == "query"]
    fields = {one["name"]: one["schema"] for one in parameters}
    required = [one["name"] for one in parameters if one.get("required")]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    body = sample(content["schema"]) if content else None
    for query in with_each_choice({"properties": fields, "required": required}):
        yield query, body
    if content:
        for other in with_each_choice(content["schema"]):
            yield sample({"type": "object", "properties": fields, "required": required}), other


def with_each_choice(schema: Any) -> Iterator[Any]:
    schema = resolved(schema)
    usual = sample({"type": "object"} | schema)
    yield usual
    for name, field in schema.get("properties", {}).items():
        for choice in resolved(field).get("enum", ()):
            yield usual | {name: choice}


def resolved(schema: Any) -> Any:
    """Follow a reference, and take the first of several alternatives."""
    if "$ref" in schema:
        return resolved(description()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    alternatives = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    return resolved(alternatives[0]) if alternatives else schema


def sample(schema: Any, name: str = "") -> Any:
    """Make a value of a schema, with nothing that it does not require."""
    schema = resolved(schema)
    if name in NAMED:
        return NAMED[name]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {one: sample(schema["properties"][one], one) for one in schema.get("required", ())}
        case "array":
            return [sample(schema["items"])] * schema.get("minItems", 1) if "items" in schema else []
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return True
        case "string" if schema.get("format") == "date-time":
            return "2026-01-01T00:00:00Z"
        case "string":
            return "a"
    return {}
