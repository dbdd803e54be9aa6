"""Where an act comes from: the client's address, the token and the request or task, which audit entries carry."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from django.http import HttpRequest, HttpResponse

from driftline.base.http.client_address import address_of

MAX_ADDRESS_CHARACTERS = 45
MAX_CORRELATION_CHARACTERS = 64


@dataclass(frozen=True)
class Origin:
    """What is known of where the present act comes from; empty for a command line."""

    address: str = ""
    token_id: int | None = None
    token_name: str = ""
    correlation: str = ""  # the id of the request, or of the run or task that acts


_current: ContextVar[Origin] = ContextVar("origin_of_acts", default=Origin())  # noqa: B039  it is frozen


def current_origin() -> Origin:
    """Return where the present act comes from."""
    return _current.get()


@contextmanager
def acting_from(origin: Origin) -> Iterator[None]:
    """Set `origin` as where the acts within come from."""
    token = _current.set(origin)
    try:
        yield
    finally:
        _current.reset(token)


def note_token(*, token_id: int, name: str) -> None:
    """Add the token that the present request was let in with."""
    _current.set(replace(_current.get(), token_id=token_id, token_name=name))


class OriginMiddleware:
    """Notes for each request where its acts come from; it stands behind what gives the request its id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        correlation = str(getattr(request, "id", ""))[:MAX_CORRELATION_CHARACTERS]
        address = address_of(request)[:MAX_ADDRESS_CHARACTERS]
        with acting_from(Origin(address=address, correlation=correlation)):
            return self.get_response(request)
