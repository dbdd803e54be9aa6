"""Answers programs on the device: by the version that is in place, each row stored before its answer leaves."""

import logging
import random
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftline_agent import __version__
from driftline_agent.errors import BadRequest, ModelRefused
from driftline_agent.model import Array, LoadedModel, all_finite, rows_of_a_sample
from driftline_agent.protocol import InferRequest, describe, read_request, write_response
from driftline_agent.rows.predictions import rows_of
from driftline_agent.rows.row_store import NotStored, RowStore, encode_body
from driftline_agent.server.second_opinion import SecondOpinion

log = logging.getLogger("driftline_agent")

FAILURES_IN_A_ROW = 5
"""Requests that a version may fail one after the other before the one of before is tried on them."""


@dataclass(frozen=True)
class Reply:
    """A status of HTTP and a document of JSON, None for no body; `tail` are the bytes of tensors behind it."""

    status: int
    document: dict[str, Any] | None = None
    tail: bytes = b""


class ModelInUse:
    """The version in place, the rows that it answered last, and whether it fails.

    A request takes the version once, so that a swap neither waits for requests nor changes one that runs.
    """

    def __init__(self) -> None:
        self.model: LoadedModel | None = None
        self.needs_look = threading.Event()
        self.failing: dict[str, Array] | None = None
        self._failures = 0
        self._recent: deque[dict[str, Array]] = deque()

    def swap(self, model: LoadedModel) -> None:
        """Make a version answer from now on."""
        self.model = model
        self.forget_failures()

    def forget_failures(self) -> None:
        self._failures, self.failing = 0, None
        self.needs_look.clear()

    def note_answer(self, feed: dict[str, Array]) -> None:
        """Keep a row that was answered well: it proves the next version. Of large images, fewer are kept."""
        self._failures = 0
        self._recent.append({name: values[:1].copy() for name, values in feed.items()})
        while len(self._recent) > rows_of_a_sample(feed):
            self._recent.popleft()

    def note_failure(self, model: LoadedModel, feed: dict[str, Array]) -> None:
        """Count a request that the version in place failed."""
        if model is not self.model:
            return
        self._failures += 1
        self.failing = feed
        if self._failures >= FAILURES_IN_A_ROW:
            self.needs_look.set()

    def sample(self) -> dict[str, Array] | None:
        """Return rows that were answered well lately; None where there are none of one shape."""
        rows = list(self._recent)
        if not rows:
            return None
        try:
            return {name: np.concatenate([row[name] for row in rows]) for name in rows[-1]}
        except (KeyError, ValueError):  # of versions with other inputs
            return None


class Dataplane:
    """What each path answers."""

    def __init__(
        self, in_use: ModelInUse, rows: RowStore | None, device: str, opinion: SecondOpinion | None = None
    ) -> None:
        """Answer with the model in use; without a store, rows are counted and answered all the same."""
        self._opinion = opinion
        self._in_use = in_use
        self.rows = rows
        self._device = device
        self.unstored_rows = 0
        self._counting = threading.Lock()

    def read(self, path: str) -> Reply:
        """Answer a GET."""
        model = self._in_use.model
        match path.strip("/").split("/"):
            case ["v2"]:
                return Reply(
                    200,
                    {"name": "driftline-agent", "version": __version__, "extensions": ["binary_tensor_data"]},
                )
            case ["v2", "health", "live"]:
                return Reply(200)
            case ["v2", "health", "ready"]:
                return Reply(200 if model else 503)
            case ["v2", "models", name, *rest] if rest in ([], ["ready"]) or _is_version(rest):
                found = self._find(name, rest[1] if _is_version(rest) else None)
                if isinstance(found, Reply):
                    return found
                return Reply(200) if rest[-1:] == ["ready"] else Reply(200, describe(found.manifest))
        return _refusal(404, "there is no such path")

    def write(self, path: str, head: bytes, tail: bytes = b"") -> Reply:
        """Answer a POST of JSON, with the bytes of tensors behind it."""
        match path.strip("/").split("/"):
            case ["v2", "models", name, "infer"]:
                found = self._find(name, None)
            case ["v2", "models", name, "versions", version, "infer"]:
                found = self._find(name, version)
            case _:
                return _refusal(404, "there is no such path")
        return found if isinstance(found, Reply) else self._infer(found, head, tail)

    def _find(self, name: str, version: str | None) -> "LoadedModel | Reply":
        model = self._in_use.model
        if model is None:
            return _refusal(503, "the device has no version yet")
        if name != model.manifest.model:
            return _refusal(404, f"this device answers for {model.manifest.model}")
        if version not in (None, model.manifest.version):
            return _refusal(404, f"this device has version {model.manifest.version}")
        return model

    def _infer(self, model: LoadedModel, head: bytes, tail: bytes) -> Reply:
        began = time.perf_counter()
        try:
            request = read_request(head, model.manifest, tail)
        except BadRequest as error:
            return _refusal(400, str(error))
        try:
            outputs = model.run(request.feed)
            if not all_finite(outputs):
                raise ModelRefused("the model answers NaN or infinity")
        except ModelRefused as error:
            if all_finite(request.feed):
                self._in_use.note_failure(model, request.feed)
            return _refusal(500, str(error))
        self._in_use.note_answer(request.feed)
        if (answer := self._ask_server(model, request, outputs, head, tail)) is not None:
            return Reply(200, answer)
        latency_ms = (time.perf_counter() - began) * 1000
        ids = self._store(model, request, outputs, latency_ms)
        return Reply(200, *write_response(model.manifest, request, outputs, ids))

    def _ask_server(
        self,
        model: LoadedModel,
        request: InferRequest,
        outputs: dict[str, Array],
        head: bytes,
        tail: bytes,
    ) -> dict[str, Any] | None:
        """Ask the server to answer where the policy says so; it logs the rows that it answers."""
        opinion = self._opinion
        if opinion is None or not opinion.is_wanted(model.manifest, outputs):
            return None
        return opinion.ask(model.manifest, head, tail, request.rows)

    def _store(
        self, model: LoadedModel, request: InferRequest, outputs: dict[str, Array], latency_ms: float
    ) -> list[str | None]:
        """Store the rows and return their ids, None for one that is only added up.

        Those that cannot be stored are counted, and answered all the same, without ids.
        """
        store = self.rows
        try:
            if store is None:
                raise NotStored("the file of rows is not open")
            bodies = [encode_body(row) for row in rows_of(model.manifest, request, outputs, latency_ms)]
            are_whole = [random.random() < model.manifest.sampling for _ in bodies]
            sequences = store.append(bodies, are_whole)
            return [
                f"{self._device}-{sequence}" if is_whole else None
                for sequence, is_whole in zip(sequences, are_whole, strict=True)
            ]
        except (
            NotStored,
            ValueError,
            ModelRefused,
        ) as error:  # no room on the disk, or no row that JSON holds
            with self._counting:
                self.unstored_rows += request.rows
            log.error("%s rows could not be stored: %s", request.rows, error)
            return []

    def forget_unstored(self, rows: int) -> None:
        """Take away rows that were counted elsewhere."""
        with self._counting:
            self.unstored_rows -= rows


def _is_version(rest: list[str]) -> bool:
    return len(rest) in (2, 3) and rest[0] == "versions" and rest[2:] in ([], ["ready"])


def _refusal(status: int, sentence: str) -> Reply:
    return Reply(status, {"error": sentence})
