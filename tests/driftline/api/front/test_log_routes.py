"""What programs log is answered by a shorter way, and in the same words as by Django's own."""

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson
import pyarrow as pa
import pytest
from django.db import connections

from driftline.api.front.body_cap import Message, Receive, Scope, Send
from driftline.api.front.log_routes import MAX_BYTES, answer_log_routes
from driftline.api.front.request_pools import RequestPools
from driftline.base.clock import now
from driftline.base.periods import rfc3339
from inference.prediction_log.ingest.parsing import MAX_ITEMS
from inference.registry.models import Model
from tests.driftline.api.arrow_streams import as_stream
from tests.driftline.api.conftest import Api

PATH = "/api/v1/models/flights/predictions"


async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands where Django's handler is, and says so."""
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def ask(
    threads: RequestPools,
    path: str,
    body: bytes,
    *,
    method: str = "POST",
    announced: int | None = None,
    **headers: str,
) -> tuple[int, dict[str, str], Any]:
    """Send a request in two pieces; gives status, headers and the JSON of the answer."""
    url, sent = urlsplit(path), []
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if announced != -1:
        named["content-length"] = str(len(body) if announced is None else announced)
    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": url.path,
        "query_string": url.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }
    pieces = [body[:7], body[7:]]

    async def receive() -> Message:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(answer_log_routes(elsewhere, threads)(scope, receive, send))
    start, end = sent
    told = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], told, orjson.loads(end["body"])


@pytest.fixture
def threads(transactional_db: None) -> Iterator[RequestPools]:
    made = RequestPools(web_threads=1, log_threads=1)
    yield made

    async def close_connections() -> None:
        thread = made.thread_of({"path": PATH, "method": "POST"})
        await thread.take()
        thread.submit(connections.close_all).result(30)
        thread.give_back()

    asyncio.run(close_connections())
    made.close()


def sent_with(api: Api, **headers: str) -> dict[str, str]:
    return {
        "host": "localhost",
        "authorization": f"Bearer {api.text}",
        "content-type": "application/json",
        "x-request-id": "asked",
        **headers,
    }


def batch(*ids: str) -> bytes:
    items = [
        {
            "id": id_,
            "timestamp": rfc3339(now()),
            "version": "1",
            "features": {"age": 3},
            "prediction": 1,
        }
        for id_ in ids
    ]
    return orjson.dumps({"predictions": items})


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        (PATH, b'{"predictions": []}', {}),
        (PATH, b'{"predictions"', {}),
        (PATH, b'{"predictions": [{"id": "a"}]}', {}),
        (PATH, b"{}", {"content-type": "text/plain"}),
        (PATH, b"{}", {"content-encoding": "br"}),
        (PATH, b"{}", {"authorization": "Bearer dl_unknown"}),
        (PATH, b"{}", {"host": "elsewhere.example"}),
        (PATH, b"{}", {"driftline-hop": "1"}),
        (f"{PATH}?atomic=maybe", b"{}", {}),
        (f"{PATH}?batch=1", b"{}", {}),
        (f"{PATH}?token=dl_secret", b"{}", {}),
        ("/api/v1/models/nothing/predictions", b"{}", {}),
        ("/api/v1/models/flights/labels", b'{"labels": [{"id": "a", "label": "1"}]}', {}),
        ("/api/v1/models/flights/labels", b'{"labels": 1}', {}),
    ],
)
def test_says_what_django_says(
    threads: RequestPools, api: Api, flights: Model, path: str, body: bytes, headers: dict[str, str]
) -> None:
    sent = sent_with(api, **headers)
    known = {name: value for name, value in sent.items() if name != "content-type"}

    expected = api.client.generic("POST", path, body, content_type=sent["content-type"], headers=known)
    status, told, answer = ask(threads, path, body, **sent)

    if path.endswith("labels") and status == 200:  # the same label came twice
        assert (expected.json()["accepted"], answer["duplicates"]) == (1, 1)
    else:
        assert answer == expected.json()
    assert status == expected.status_code
    sent_by_pages = {"vary", "permissions-policy"}  # by what looks at the session, and for browsers
    assert told.keys() - {"content-length"} == {name.lower() for name in expected.headers} - sent_by_pages - {
        "content-length"
    }


@pytest.mark.slow
def test_keeps_what_it_accepts(threads: RequestPools, api: Api, flights: Model) -> None:
    status, told, answer = ask(threads, PATH, batch("a", "b"), **sent_with(api))

    assert (status, answer["accepted"], told["driftline-log"]) == (200, 2, "committed")
    assert api.get("/models/flights/predictions/b").json()["features"] == {"age": 3.0}


def test_takes_as_many_rows_as_columns_may_bring(threads: RequestPools, api: Api) -> None:
    columns = {f"feature_{place}": np.arange(MAX_ITEMS) / 7 for place in range(30)}
    ids = [f"{place:036}" for place in range(MAX_ITEMS)]
    body = as_stream(pa.table(columns | {"id": ids, "timestamp": [rfc3339(now())] * MAX_ITEMS}))

    status, _, _ = ask(threads, PATH, body, **sent_with(api, authorization="Bearer dl_unknown"))

    assert status == 401  # and not Django's 299


@pytest.mark.parametrize(
    "request_",
    [
        {"announced": MAX_BYTES + 1},
        {"announced": -1},
        {"method": "GET"},
        {"path": "/api/v1/models"},
        {"path": f"{PATH}?atomic=\xff"},
        {"path": "/api/v1/models/flights/predictions/a"},
    ],
)
def test_leaves_the_rest_to_django(threads: RequestPools, api: Api, request_: dict[str, Any]) -> None:
    asked = {"path": PATH, "body": b"{}", **request_}

    assert ask(threads, **asked, **sent_with(api))[0] == 299


def test_does_nothing_for_a_client_that_left_before_its_body_was_there(threads: RequestPools) -> None:
    answered: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answered.append(message)

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "query_string": b"",
        "headers": [(b"content-length", b"9")],
    }

    asyncio.run(answer_log_routes(elsewhere, threads)(scope, receive, send))

    assert answered == []
