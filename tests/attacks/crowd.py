"""Many clients at once on loopback, each with a connection a request, and what they were answered."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tests.flows.installation.running import Installation

CLIENT_SECONDS = 60.0


@dataclass(frozen=True)
class Answered:
    """One answer; status 0 stands for none within the client's time."""

    status: int
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


async def ask(port: int, asked: Asked) -> Answered:
    """Send one request and read its answer to the end."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(CLIENT_SECONDS):
            status, headers, body = await _exchange(port, asked)
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        return Answered(0, time.monotonic() - began)
    return Answered(status, time.monotonic() - began, headers, body)


async def _exchange(port: int, asked: Asked) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = [f"{asked.method} {asked.path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in asked.headers.items()]
        lines += [f"Content-Length: {len(asked.body)}", "", ""]
        writer.write("\r\n".join(lines).encode() + asked.body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *fields = head.strip().split("\r\n")
        headers: dict[str, str] = {}
        for field in fields:
            name, _, value = field.partition(": ")
            name = name.lower()
            headers[name] = f"{headers[name]}\n{value}" if name in headers else value
        return int(first.split()[1]), headers, await reader.read()
    finally:
        writer.close()


def ask_one(port: int, asked: Asked) -> Answered:
    """Ask alone."""
    return asyncio.run(ask(port, asked))


async def crowd(port: int, asked: Iterable[Asked]) -> list[Answered]:
    """Ask all at once."""
    return await asyncio.gather(*(ask(port, one) for one in asked))


def statuses(answered: Iterable[Answered]) -> dict[int, int]:
    """Count the answers by status."""
    return dict(sorted(Counter(one.status for one in answered).items()))


def p99(answered: Iterable[Answered]) -> float:
    """Give the time within which 99 of 100 were answered."""
    seconds = sorted(one.seconds for one in answered)
    return seconds[min(len(seconds) * 99 // 100, len(seconds) - 1)]


def sign_in(installation: Installation) -> dict[str, str]:
    """Sign the operator in; gives the headers of a browser that is signed in."""
    page = ask_one(installation.port, Asked("/accounts/login/"))
    csrf = _cookie(page, "csrftoken")
    credentials = json.loads((installation.home / "credentials").read_text())
    form = {"login": credentials["email"], "password": credentials["password"], "csrfmiddlewaretoken": csrf}
    headers = {
        "Cookie": f"csrftoken={csrf}",
        "Content-Type": "application/x-www-form-urlencoded",
        "Origin": f"http://127.0.0.1:{installation.port}",
    }
    answer = ask_one(installation.port, Asked("/accounts/login/", "POST", headers, urlencode(form).encode()))
    return {"Cookie": f"sessionid={_cookie(answer, 'sessionid')}"}


def _cookie(answered: Answered, name: str) -> str:
    found = re.search(rf"{name}=([^;\s]+)", answered.headers.get("set-cookie", ""))
    assert found is not None, (answered.status, answered.headers)
    return found[1]
