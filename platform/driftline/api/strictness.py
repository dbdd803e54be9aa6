"""What the API demands of every request: a JSON body read by the strict gate, and no parameter that nobody reads."""

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja.operation import Operation
from ninja.params.models import QueryModel
from ninja.parser import Parser
from ninja.renderers import BaseRenderer
from ninja.types import DictStrAny

from driftline.base.accounts.access.http_auth import refuse_token_in_url
from driftline.base.errors import not_found
from driftline.base.http.request_values import media_type, read_body, refuse_parameter
from driftline.base.http.responses import write_json
from driftline.base.http.uploads import MAX_BODY_BYTES
from driftline.base.strict_json import printable, read_json

MAX_BYTES = 1 << 20
_OF_SUMMARIES = re.compile(r"/api/v1/models/[^/]+/summaries")


class StrictParser(Parser):
    """Reads JSON bodies of up to 1 MiB; batches of summaries of as much as is read whole."""

    def parse_body(self, request: HttpRequest) -> DictStrAny:
        media_type(request, ("application/json",))
        cap = MAX_BODY_BYTES if _OF_SUMMARIES.fullmatch(request.path_info) else MAX_BYTES
        return read_json(read_body(request, cap=cap))


class JsonRenderer(BaseRenderer):
    media_type = "application/json"

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> bytes:
        return write_json(data)


def refuse_unknown_parameters(run: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Wrap an operation: a misspelt filter must not look like an answer to the question that was meant."""
    operation: Operation = run.__self__  # type: ignore[attr-defined]  # a bound method
    known = {
        name
        for model in operation.models
        if issubclass(model, QueryModel)
        for name in getattr(model, "__ninja_flatten_map__", {})
    }

    @wraps(run)
    def checked(request: HttpRequest, **path: Any) -> HttpResponse:
        try:
            _check(request, known, path)
        except Exception as error:
            return operation.api.on_exception(request, error)
        return run(request, **path)

    return checked


def _check(request: HttpRequest, known: set[str], path: dict[str, Any]) -> None:
    refuse_token_in_url(request)
    if any("\x00" in value for value in path.values() if isinstance(value, str)):
        raise not_found("object")
    for name, values in request.GET.lists():
        if name not in known:
            allowed = f"use some of {', '.join(sorted(known))}" if known else "this takes none"
            raise refuse_parameter(printable(name), f"'{printable(name)}' is not a parameter; {allowed}.")
        if len(values) > 1 or "\x00" in values[0]:
            raise refuse_parameter(name, f"{name} must be given once, without NUL.")
