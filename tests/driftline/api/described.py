"""Checks that answers are as openapi.json describes them: every one that an API test receives."""

import re
from functools import cache
from typing import Any

import orjson
from django.urls import Resolver404, resolve
from jsonschema import Draft202012Validator, FormatChecker

from driftline.api.v1 import api
from driftline.base.periods import parse_timestamp

FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def is_rfc3339(value: object) -> bool:
    return not isinstance(value, str) or bool(parse_timestamp(value))


def assert_described(method: str, path: str, answer: Any) -> None:
    """Check an answer by its route, status and media type; a field that is not described is a fault."""
    has_body = answer.streaming or answer.content
    kind = answer.headers["Content-Type"].partition(";")[0] if has_body else ""
    described = _described(method, path.partition("?")[0], answer.status_code)
    where = f"{method} {path} answered {answer.status_code} {kind}"
    assert described is not None, f"{where}, which openapi.json does not have"
    content = described.get("content", {})
    kinds = {one.partition(";")[0] for one in content}
    assert {kind} - {""} <= kinds, f"{where}; openapi.json has {', '.join(content) or 'no body'}"
    if kind.endswith("json") and not answer.streaming:
        faults = _validator(orjson.dumps(content[kind]["schema"])).iter_errors(answer.json())
        found = [f"{fault.json_path}: {fault.message[:300]}" for fault in faults]
        assert not found, f"{where}: " + "; ".join(found[:5])


def _described(method: str, path: str, status: int) -> Any:
    """Find what openapi.json says of an answer; None where it says nothing."""
    paths = description()["paths"]
    try:
        route = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", f"/{resolve(path).route}")
    except Resolver404:
        route = ""
    operation = paths.get(route, {}).get(method.lower())
    if operation is None and status >= 400:  # 404 and 405 are answered alike everywhere
        operation = paths["/api/v1/models"]["get"]
    if operation is None:
        return None
    responses = operation["responses"]
    return responses.get(str(status), responses.get(f"{status // 100}XX"))


@cache
def description() -> Any:
    """Give openapi.json with its objects closed, so that a validator refuses a field that they do not have."""
    described = orjson.loads(orjson.dumps(api.get_openapi_schema(), option=orjson.OPT_NON_STR_KEYS))
    for schema in described["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return described


@cache
def _validator(schema: bytes) -> Draft202012Validator:
    components = description()["components"]
    return Draft202012Validator(orjson.loads(schema) | {"components": components}, format_checker=FORMATS)
