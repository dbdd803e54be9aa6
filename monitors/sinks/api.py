"""Over HTTP: the sink of a project."""

from django.http import HttpRequest
from ninja import Router
from ninja.params.functions import Query
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.clock import now
from driftline.base.http.bodies import Body
from driftline.base.keys.secrets_at_rest import MAX_SECRET_BYTES
from monitors.sinks import services
from monitors.sinks.models import Sink
from monitors.sinks.schemas import SinkOut, SinkTestOut
from monitors.sinks.selectors import find_sink
from monitors.sinks.settings import SinkSettings
from monitors.sinks.streams.readers import statuses_of

router = Router(tags=["sink"])
_CHANGES = Scoped(SCOPE_OF["sink"])
_CONFIRM = Query("", max_length=200)


class SinkIn(Body):
    """Where the sink is; a secret left out stays while brokers and user do."""

    settings: SinkSettings
    secret: str | None = Field(
        None,
        max_length=MAX_SECRET_BYTES,
        description="the password, or the private key of the client's certificate as PEM; empty removes it",
    )


@router.get("/sink", auth=Scoped(Scope.READ), response=SinkOut)
def read_sink(request: HttpRequest) -> SinkOut:
    """Return the sink of the project with how each of its streams stands."""
    return _out(find_sink(project=caller_of(request).project))


@router.put("/sink", auth=_CHANGES, response=SinkOut)
def put_sink(request: HttpRequest, body: SinkIn) -> SinkOut:
    """Set the project's sink, or change it: what is stored from now on is sent, each message at least once."""
    caller = caller_of(request)
    sink = services.set_sink(
        project=caller.project, settings=body.settings, actor=caller.actor, secret=body.secret
    )
    return _out(sink)


@router.post("/sink/test", auth=_CHANGES, response=SinkTestOut)
def test_sink(request: HttpRequest, body: SinkIn) -> SinkTestOut:
    """Connect to the brokers without sending or storing anything; 502 says why they cannot be reached."""
    caller = caller_of(request)
    missing = services.check_connection(project=caller.project, settings=body.settings, secret=body.secret)
    return SinkTestOut(missing_topics=missing)


@router.delete("/sink", auth=_CHANGES, response={204: None})
def stop_sink(request: HttpRequest, confirm: str = _CONFIRM) -> Status[None]:
    """Stop sending and forget the sink with its secret; what was not sent yet is not sent.

    `confirm` is the slug of the project.
    """
    caller = caller_of(request)
    sink = find_sink(project=caller.project)
    if sink is not None:
        services.stop_sink(sink=sink, confirm=confirm, actor=caller.actor)
    return Status(204, None)


def _out(sink: Sink | None) -> SinkOut:
    return SinkOut.of(sink, statuses_of(sink, now=now()) if sink else [])
