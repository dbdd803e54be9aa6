"""An engine without a server, which serves the sums of three numbers, or another model."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from inference.serving.engine.engine import Engine
from inference.serving.options import EngineOptions, Fsync
from inference.serving.plan import Plan, PlanModel
from inference.serving.routing import RoutingTable
from inference.serving.versions.versions import LoadedVersion
from inference.signatures import Signature
from tests.inference.onnx_models import store, summing_model, summing_signature
from tests.inference.serving.running import token


def with_engine[Result](
    home: Path,
    use: Callable[[Engine], Awaitable[Result]],
    fsync: Fsync = "off",
    serves: tuple[bytes, Signature] | None = None,
) -> Result:
    """Run an engine until what `use` asks for is answered."""
    artifact, signature = serves or (summing_model(3), summing_signature(3))
    version = store(home, artifact, signature, id=1, version="1")
    model = PlanModel(1, 1, "sums", 5, "1", [], [version])
    plan = Plan(1, [model], [token("dl_infer", "infer")])
    loaded = {1: LoadedVersion(home, model, version)}

    async def run() -> Result:
        engine = Engine(home, EngineOptions(fsync=fsync), lambda *_: None)
        try:
            engine.adopt(RoutingTable(plan, loaded, {}))
            return await asyncio.wait_for(use(engine), 20)
        finally:
            engine.close()

    return asyncio.run(run())
