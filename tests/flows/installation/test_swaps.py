"""Promotions and rollbacks under load: no request fails, and each is answered by the one version that it names."""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest

from tests.flows.installation.clients import request
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import Installation
from tests.inference.onnx_models import constant_number

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

MODEL = "numbered"
VERSIONS = 4
PAIRS = 50  # of a promotion and a rollback
CONNECTIONS = 64
PAUSE_S = 0.05  # from one request of a connection to its next
QUIET_S = 10.0
ANSWER_S = 30.0


def test_a_hundred_promotions_and_rollbacks_fail_no_request_of_64_connections(
    installation: Installation, tell: Tell
) -> None:
    _make_numbered_model(installation)

    heard = asyncio.run(_listen_while_it_swaps(installation))

    tell(
        f"{heard.changes} promotions and rollbacks: {heard.answers['swaps']:,} answers on {CONNECTIONS} connections, "
        f"{sum(heard.other_than_200.values())} of them not 2xx; p99 {heard.p99_ms('swaps'):.1f} ms during them, "
        f"{heard.p99_ms('quiet'):.1f} ms without ({heard.answers['quiet']:,} answers)"
    )
    assert heard.changes == 2 * PAIRS
    assert heard.other_than_200 == {}
    assert heard.answers_of_another_version == []
    assert heard.generations_that_went_back == []
    assert {len(versions) for versions in heard.versions_by_generation.values()} == {1}
    assert set.union(*heard.versions_by_generation.values()) == {str(n + 1) for n in range(VERSIONS)}
    assert len(heard.versions_by_generation) > PAIRS  # the swaps went on under the load, not beside it


@dataclass
class Heard:
    """What all connections were told, in the two parts `quiet` and `swaps`."""

    part: str = "quiet"
    changes: int = 0
    latencies_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    other_than_200: Counter[int] = field(default_factory=Counter)
    answers_of_another_version: list[str] = field(default_factory=list)
    generations_that_went_back: list[tuple[int, int]] = field(default_factory=list)
    versions_by_generation: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))

    @property
    def answers(self) -> dict[str, int]:
        return {part: len(latencies) for part, latencies in self.latencies_s.items()}

    def p99_ms(self, part: str) -> float:
        return float(np.quantile(self.latencies_s[part], 0.99)) * 1000

    def note(self, status: int, headers: dict[str, str], body: bytes, generation_before: int) -> int:
        """Check one answer, and give the generation that it names."""
        if status != 200:
            self.other_than_200[status] += 1
            return generation_before
        answer = json.loads(body)
        version, generation = headers["driftline-version"], int(headers["driftline-generation"])
        [number] = answer["outputs"][0]["data"]
        if not version == answer["model_version"] == f"{number:.0f}":
            self.answers_of_another_version.append(f"{version}: {body.decode()}")
        if generation < generation_before:
            self.generations_that_went_back.append((generation_before, generation))
        self.versions_by_generation[generation].add(version)
        return generation


def _make_numbered_model(installation: Installation) -> None:
    """Deploy a model whose versions answer their own numbers."""
    metadata = {"features": [{"name": "f0", "type": "float"}], "outputs": {"prediction": "sum"}}
    with closing(installation.api()) as api:
        api.post("/api/v1/models", {"name": MODEL, "task": "regression"})
        for number in range(1, VERSIONS + 1):
            content = constant_number(number, 1)
            uploaded = api.upload(
                f"/api/v1/models/{MODEL}/versions", content, metadata=msgspec.json.encode(metadata)
            )
            assert uploaded["version"] == str(number)


async def _listen_while_it_swaps(installation: Installation) -> Heard:
    """Ask on all connections, first alone and then during all swaps."""
    heard, done = Heard(), asyncio.Event()
    tensor = {"name": "X", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}
    question = request(installation, f"/v2/models/{MODEL}/infer", msgspec.json.encode({"inputs": [tensor]}))
    async with asyncio.TaskGroup() as connections:
        for place in range(CONNECTIONS):
            begin = time.perf_counter() + PAUSE_S * place / CONNECTIONS
            connections.create_task(_keep_asking(installation.port, question, begin, heard, done.is_set))
        await asyncio.sleep(QUIET_S)
        heard.part = "swaps"
        heard.changes = await _swap(installation)
        done.set()
    return heard


async def _swap(installation: Installation) -> int:
    command = [sys.executable, "-m", "tests.performance.swaps", str(installation.port), installation.token]
    swapping = await asyncio.create_subprocess_exec(*command, MODEL, str(PAIRS), stdout=subprocess.PIPE)
    output, _ = await swapping.communicate()
    return int(output.split()[-1])


async def _keep_asking(
    port: int, question: bytes, begin: float, heard: Heard, is_done: Callable[[], bool]
) -> None:
    """Ask on one connection by a schedule; a latency counts from the scheduled moment, however late it was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    generation = 0
    for number in itertools.count():
        due = begin + PAUSE_S * number
        await asyncio.sleep(due - time.perf_counter())
        if is_done():
            break
        part = heard.part
        writer.write(question)
        status, headers, body = await asyncio.wait_for(_read_answer(reader), ANSWER_S)
        heard.latencies_s[part].append(time.perf_counter() - due)
        generation = heard.note(status, headers, body, generation)
    writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, body
