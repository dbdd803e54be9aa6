"""Sessions with servers on loopback."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driftline.base.outbound.rules import OutboundRules
from inference.runtime.remote.session import OPEN_SECONDS, RemoteSession
from inference.signatures import EndpointSpec, TensorSpec

LOOPBACK = OutboundRules(["127.0.0.0/8"])
INPUTS = [TensorSpec("X", "FP32", [-1, 2])]
OUTPUTS = [TensorSpec("sum", "FP32", [-1, 1])]

type Opens = Callable[..., RemoteSession]


@pytest.fixture
def counts() -> Counter[str]:
    """How the calls of the test's sessions ended."""
    return Counter()


@pytest.fixture
def open_session(tmp_path: Path, counts: Counter[str]) -> Opens:
    """Open a session with a server that may be on loopback."""

    def open_one(
        url: str,
        protocol: str = "v2",
        *,
        inputs: list[TensorSpec] = INPUTS,
        outputs: list[TensorSpec] = OUTPUTS,
        rules: OutboundRules = LOOPBACK,
        open_seconds: float = OPEN_SECONDS,
        **endpoint: Any,
    ) -> RemoteSession:
        def count(outcome: str) -> None:
            counts[outcome] += 1

        spec = EndpointSpec(protocol=protocol, url=url, model="m", **endpoint)
        return RemoteSession(
            spec, inputs, outputs, home=tmp_path, rules=rules, count=count, open_seconds=open_seconds
        )

    return open_one
