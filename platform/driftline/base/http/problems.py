"""Every failure below /api in one shape: problem details (RFC 9457)."""

import errno
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from http import HTTPStatus
from typing import Annotated, Any

from django.conf import settings
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.template.loader import render_to_string
from django.views import defaults
from msgspec import UNSET, Meta, UnsetType
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from driftline.base.errors import FieldFault, Problem
from driftline.base.http.bodies import TAG_MARK
from driftline.base.http.responses import ResponseBody, write_json
from driftline.base.keys.secrets_at_rest import SecretUnreadable
from driftline.base.strict_json import escape_pointer, printable

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
_CODES = {
    400: "bad_request",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    429: "rate_limited",
    500: "internal_error",
}
_FIELD_CODES = {"missing": "missing_field", "extra_forbidden": "unknown_field"}


class ProblemOut(ResponseBody, frozen=True):
    """Why a request failed: problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Meta(description="A sentence for people, which may change.")]
    instance: Annotated[str, Meta(description="The id of the request, by which its log lines are found.")]
    code: Annotated[
        str, Meta(description="What a program may go by: it stays.", pattern="^[a-z]+(_[a-z]+)*$")
    ]
    errors: Sequence[FieldFault]
    retry_after: Annotated[int, Meta(description="seconds")] | UnsetType = UNSET


def problem_body(problem: Problem, *, instance: str) -> bytes:
    """Write a problem's body; `instance` is the request's id, by which its log lines are found."""
    return write_json(
        ProblemOut(
            type=f"{settings.PUBLIC_URL}/api/v1/docs#{problem.code}",
            title=HTTPStatus(problem.status).phrase,
            status=problem.status,
            detail=problem.detail,
            instance=instance,
            code=problem.code,
            errors=problem.errors,
            retry_after=UNSET if problem.retry_after is None else problem.retry_after,
        )
    )


def problem_response(request: HttpRequest, problem: Problem) -> HttpResponse:
    """Answer with a problem."""
    body = problem_body(problem, instance=getattr(request, "id", ""))
    response = HttpResponse(body, status=problem.status, content_type=CONTENT_TYPE)
    for name, value in problem.headers.items():
        response[name] = value
    if problem.retry_after is not None:
        response["Retry-After"] = str(problem.retry_after)
    return response


def handle_exceptions(api: NinjaAPI) -> None:
    """Make `api` answer every exception as a problem."""

    def handle(request: HttpRequest, error: Any) -> HttpResponse:
        return problem_response(request, _problem_of(error))

    for kind in (Exception, Problem, HttpError, ValidationError, Http404):
        api.add_exception_handler(kind, handle)


def _problem_of(error: BaseException) -> Problem:
    match error:
        case Problem():
            return error
        case HttpError() if isinstance(error.__cause__, Problem):  # ninja wraps what its body parser raises
            return error.__cause__
        case HttpError():
            return _plain(error.status_code, error.message)
        case ValidationError():
            return problem_of_fields(error.errors)
        case Http404():
            return _plain(404, "There is nothing at this address.")
        case RequestDataTooBig():
            return _plain(413, "The body is larger than this address takes.")
        case MultiPartParserError():
            return Problem(
                400, "malformed_multipart", "The body is not multipart/form-data as its header says."
            )
        case UnreadablePostError():
            return _plain(400, "The body did not arrive whole; send it again.")
        case SuspiciousOperation() | BadRequest():
            return _plain(400, "The request was refused because of its form.")
        case OperationalError() | InterfaceError():
            log.warning("the database is away", exc_info=error)
            return Problem(
                503,
                "storage_unavailable",
                "The database does not answer; send it again, ids are stored once.",
                retry_after=5,
            )
        case SecretUnreadable():
            return Problem(503, "secret_unreadable", str(error))
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            log.error("the disk is full")
            return Problem(
                507,
                "insufficient_storage",
                "The disk is full; nothing was stored. Make room and send it again.",
            )
        case DataError():
            log.exception("a value passed the checks that the database refuses", exc_info=error)
            return Problem(422, "invalid_parameter", "A value does not fit what can be stored.")
    log.exception("request failed", exc_info=error)
    return _plain(500, "This is a fault of the server; its log has more under this instance.")


def _plain(status: int, detail: str) -> Problem:
    return Problem(status, _CODES.get(status, HTTPStatus(status).phrase.lower().replace(" ", "_")), detail)


def problem_of_fields(errors: Iterable[dict[str, Any]]) -> Problem:
    """Turn pydantic's errors into faults; `loc` is (source, parameter, place in it...)."""
    faults, in_body = [], False
    for error in errors:
        source, *place = (part for part in error["loc"] if not str(part).startswith(TAG_MARK))
        in_body = in_body or source == "body"
        place = place[1:] if source == "body" else place[-1:]
        pointer = "".join(f"/{escape_pointer(str(part))}" for part in place)
        code = _FIELD_CODES.get(error["type"], "invalid_parameter")
        faults.append(FieldFault(pointer, code, _sentence(error, place)))
    first = faults[0]
    return Problem(422 if in_body else 400, first.code, first.detail, faults)


def _sentence(error: dict[str, Any], place: list[Any]) -> str:
    field = printable(str(place[-1])) if place else "the body"
    words = _WORDS.get(error["type"])
    reason = (
        words.format(**error.get("ctx", {})) if words else str(error["msg"]).removeprefix("Value error, ")
    )
    return f"{field}: {reason[:1].lower()}{reason[1:200]}."


_WORDS = {
    "missing": "this field is needed",
    "extra_forbidden": "there is no such field here",
    "literal_error": "use {expected}",
    "greater_than_equal": "use {ge} or more",
    "greater_than": "use more than {gt}",
    "less_than_equal": "use {le} or less",
    "less_than": "use less than {lt}",
    "int_type": "use a whole number",
    "float_type": "use a number",
    "string_type": "use a text",
    "bool_type": "use true or false",
    "list_type": "use a list",
    "dict_type": "use an object",
    "string_too_long": "use at most {max_length} characters",
    "string_too_short": "use at least {min_length} characters",
}
"""What is said of a value, by the kind of pydantic's error; of others it is pydantic's own sentence."""


# -- what Django itself answers ----------------------------------------------------------------------------------------
def is_for_programs(request: HttpRequest) -> bool:
    """Return whether a request gets problem details rather than a page."""
    return is_path_for_programs(request.path_info)


def is_path_for_programs(path: str) -> bool:
    """Return whether what is at a path answers with problem details rather than a page."""
    return path.startswith("/api/") or path in ("/api", "/metrics")


def _handler(status: int, page: Callable[..., HttpResponse], detail: str) -> Callable[..., HttpResponse]:
    """Make one of the URL configuration's error handlers."""

    def handle(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
        if is_for_programs(request):
            is_known = isinstance(exception, SuspiciousOperation | BadRequest)
            return problem_response(
                request, _problem_of(exception) if is_known and exception else _plain(status, detail)
            )
        return page(request) if status == 500 else page(request, exception)

    return handle


bad_request = _handler(400, defaults.bad_request, "The request was refused because of its form.")
permission_denied = _handler(403, defaults.permission_denied, "This is not allowed.")
page_not_found = _handler(404, defaults.page_not_found, "There is nothing at this address; see /api/v1/docs.")
_server_error = _handler(500, defaults.server_error, "This is a fault of the server; its log has more.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer what nobody caught; where the database does not answer, that is no fault of the request."""
    error = sys.exception()
    if not isinstance(error, OperationalError | InterfaceError):
        return _server_error(request)
    problem = _problem_of(error)
    if is_for_programs(request):
        return problem_response(request, problem)
    retry = {"Retry-After": str(problem.retry_after)}
    return HttpResponse(render_to_string("503.html"), status=problem.status, headers=retry)


def with_problems(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Answer a plain view's problems, and what it does not offer, in the shape of the API."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return not_allowed_as_problem(request, view(request, *args, **kwargs))
        except Exception as error:
            return problem_response(request, _problem_of(error))

    return answered


def not_allowed_as_problem(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Rewrite Django's 405, which is HTML, and keep its Allow."""
    if not isinstance(response, HttpResponseNotAllowed):
        return response
    allowed = ", ".join(sorted(response["Allow"].replace(" ", "").split(",")))
    detail = f"{printable(request.method or '')} is not offered here; use {allowed}."
    return problem_response(request, Problem(405, "method_not_allowed", detail, headers={"Allow": allowed}))
