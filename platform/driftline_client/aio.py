"""The client for asyncio: the same models, with `await` before whatever waits for Driftline.

from driftline_client import aio

async with aio.model("flights", version="7") as flights:
    key = flights.log(features={"delay": 4.0}, prediction="late")  # never waits, so there is nothing to await
    flights.label(key, "on time")
    answer = await flights.predict({"delay": 4.0})
    await flights.log_frame(frame, prediction="prediction")
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack
from weakref import WeakKeyDictionary

import httpx

from driftline_client import handle
from driftline_client.frames import Tabular
from driftline_client.inference import About, Prediction, Row, read_answer
from driftline_client.sending.transport import checked, unanswered

P = ParamSpec("P")
R = TypeVar("R")


def _in_thread(method: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    """Make a method that waits do so in a thread."""

    @wraps(method)
    async def waiting(*arguments: P.args, **options: P.kwargs) -> R:
        return await asyncio.to_thread(method, *arguments, **options)

    return waiting


class AsyncModelHandle:
    """A ModelHandle for asyncio; each method does what its namesake there does."""

    def __init__(self, model: handle.ModelHandle) -> None:
        self.name = model.name
        self.version = model.version
        self.log = model.log
        self.label = model.label
        self.counts = model.counts
        self.log_frame = _in_thread(model.log_frame)
        self.label_frame = _in_thread(model.label_frame)
        self.reference = _in_thread(model.reference)
        self.send_file = _in_thread(model.send_file)
        self.flush = _in_thread(model.flush)
        self._close = _in_thread(model.close)
        self._new_client = model.new_client.asynchronous
        self._questions = model.questions
        self._metadata: dict[str, Any] | None = None
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()

    async def predict(self, features: Row | Sequence[Row] | Tabular, **about: Unpack[About]) -> Prediction:
        """Ask the model for one row, a list of rows, or a frame; raises DriftlineError."""
        if self._metadata is None:
            self._metadata = (await self._ask("GET", self._questions.path)).json()
        body = self._questions.body(self._metadata, features, about)
        return read_answer(await self._ask("POST", f"{self._questions.path}/infer", json=body))

    async def close(self, timeout: float | None = None) -> bool:
        """Flush and stop; at the end of the process this happens by itself."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()
        return await self._close(timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients[loop] = self._new_client()  # connections belong to the loop that opened them
        try:
            response = await self._clients[loop].request(method, path, **options)
        except httpx.TransportError as error:
            raise unanswered(error) from error
        return checked(response)


def _twin(opened: Callable[P, handle.ModelHandle]) -> Callable[P, AsyncModelHandle]:
    @wraps(opened)
    def twin(*arguments: P.args, **options: P.kwargs) -> AsyncModelHandle:
        return AsyncModelHandle(opened(*arguments, **options))

    return twin


model = _twin(handle.model)
"""Open a model by name for asyncio; takes what `driftline_client.model` takes."""
