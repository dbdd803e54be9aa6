"""What is read from a standby, and what never is."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import Error, OperationalError
from django.http import HttpRequest, HttpResponse

from driftline.base.accounts.models import Project
from driftline.base.database import replica
from driftline.base.database.replica import ReadFromReplica, ReplicaRouter
from driftline.base.http.identity import note_identity
from inference.registry.models import Model

CURRENT = 1_000

pytestmark = pytest.mark.django_db

router = ReplicaRouter()


class Standby:
    """Stands in for the connection to a standby: it says of itself what the test sets."""

    def __init__(self) -> None:
        self.says: tuple[bool, int, float | None] | Error = (True, CURRENT, 0.5)

    def cursor(self) -> "Standby":
        return self

    def __enter__(self) -> "Standby":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def execute(self, _: str) -> None:
        if isinstance(self.says, Error):
            raise self.says

    def fetchone(self) -> Any:
        return self.says

    def close(self) -> None:
        return


@pytest.fixture
def standby(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Standby:
    made = Standby()
    primary = SimpleNamespace(in_atomic_block=False)
    monkeypatch.setattr(replica, "connections", {"replica": made, "default": primary})
    monkeypatch.setattr(replica, "_replica", replica._Replica())
    monkeypatch.setattr(replica, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(replica, "_position_of_primary", lambda: CURRENT + 1)
    settings.REPLICA_URL = "postgresql://standby/driftline"
    return made


def serve(method: str, view: Callable[[HttpRequest], Any], *, reader: str = "ada") -> Any:
    """Let a request of `reader` through the middleware; return what the view gives."""
    request = HttpRequest()
    request.method = method
    given: list[Any] = []

    def answer(request: HttpRequest) -> HttpResponse:
        if reader:
            note_identity(request, reader, is_reader=True)
        given.append(view(request))
        return HttpResponse()

    ReadFromReplica(answer)(request)
    return given[0]


def where_models_are_read(_: HttpRequest) -> str:
    return router.db_for_read(Model)


@pytest.mark.parametrize(("method", "server"), [("GET", "replica"), ("HEAD", "replica"), ("POST", "default")])
def test_a_request_that_changes_nothing_reads_from_the_standby(
    standby: Standby, method: str, server: str
) -> None:
    assert serve(method, where_models_are_read) == server


def test_who_may_do_what_is_read_from_the_primary(standby: Standby) -> None:
    assert serve("GET", lambda _: router.db_for_read(Project)) == "default"


def test_a_device_or_a_serving_host_is_answered_from_the_primary(standby: Standby) -> None:
    def of_a_device(request: HttpRequest) -> str:
        note_identity(request, "device pump-7")
        return router.db_for_read(Model)

    assert serve("GET", of_a_device, reader="") == "default"


def test_a_worker_reads_from_the_primary(standby: Standby) -> None:
    assert router.db_for_read(Model) == "default"


def test_whoever_wrote_reads_it_back_and_others_do_not_wait(standby: Standby) -> None:
    serve("POST", where_models_are_read, reader="ada")

    assert serve("GET", where_models_are_read, reader="ada") == "default"
    assert serve("GET", where_models_are_read, reader="grace") == "replica"

    standby.says = (True, CURRENT + 1, 0.5)
    assert serve("GET", where_models_are_read, reader="ada") == "replica"


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (OperationalError("refused"), "it is away"),
        ((False, 0, None), "no standby"),
        ((True, CURRENT, 31.0), "behind"),
        ((True, CURRENT, None), "behind"),
    ],
)
def test_a_standby_that_is_not_fit_is_not_read(standby: Standby, says: Any, reason: str) -> None:
    standby.says = says

    assert serve("GET", where_models_are_read) == "default"
    assert reason in replica.describe_replica()


def test_a_transaction_sees_one_server(standby: Standby) -> None:
    replica.connections["default"].in_atomic_block = True

    assert serve("GET", where_models_are_read) == "default"


def test_a_row_of_the_standby_is_written_to_the_primary(standby: Standby) -> None:
    row = Model(name="approvals")
    row._state.db = "replica"

    assert router.db_for_write(Model, instance=row) == "default"
    assert router.allow_relation(row, Project())
    assert not router.allow_migrate("replica", "inference")


def test_another_process_knows_who_wrote(standby: Standby, monkeypatch: pytest.MonkeyPatch) -> None:
    serve("POST", where_models_are_read, reader="ada")
    monkeypatch.setattr(replica, "_replica", replica._Replica())

    assert serve("GET", where_models_are_read, reader="ada") == "default"


def test_a_change_that_is_committed_is_answered_though_the_primary_fails_just_then(
    standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> int:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(replica, "_position_of_primary", fail)

    assert serve("POST", where_models_are_read) == "default"
