"""How much code of ours stands between the bytes of a request and ONNX Runtime."""

import asyncio
import sys
from pathlib import Path
from types import FrameType

import onnxruntime as ort
import uvicorn
from uvicorn.server import ServerState

import inference
from inference.serving.engine.engine import Engine
from inference.serving.engine.scheduling import Scheduler
from inference.serving.http.connection import HotProtocol
from tests.inference.serving.engines import with_engine
from tests.inference.serving.http.wires import Wire
from tests.inference.serving.running import request_bytes, rows_body

MAX_FRAMES = 12
OURS = str(Path(inference.__file__).parent)


def stack_of_ours(frame: FrameType | None) -> list[str]:
    """List our functions on the stack, the outermost first."""
    names = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS):
            names.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return names[::-1]


async def trace(engine: Engine, payload: bytes) -> list[str]:
    """Return our frames under which a request is handed to the next turn of the loop, then those of its run."""
    protocol = HotProtocol.bind(engine)
    config = uvicorn.Config(lambda: None, http=protocol, ws="none", lifespan="off", log_level="critical")
    config.load()
    connection, wire = protocol(config=config, server_state=ServerState(), app_state={}), Wire()
    connection.connection_made(wire)
    await answer(connection, wire, payload)  # its head is known from now on
    stacks: dict[str, list[str]] = {}
    ends = {Scheduler.make_ready.__code__: "handed over", ort.InferenceSession.run.__code__: "run"}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in ends:
            stacks.setdefault(ends[frame.f_code], stack_of_ours(frame))

    sys.setprofile(note)
    try:
        await answer(connection, wire, payload)
    finally:
        sys.setprofile(None)
    return stacks["handed over"] + stacks["run"]


async def answer(connection: HotProtocol, wire: Wire, payload: bytes) -> None:
    wire.sent = b""
    connection.data_received(payload)
    await asyncio.sleep(0)
    assert wire.sent.startswith(b"HTTP/1.1 200")


def test_a_row_of_json_reaches_onnx_runtime_in_at_most_twelve_frames_of_ours(tmp_path: Path) -> None:
    payload = request_bytes("/v2/models/sums/infer", rows_body([1, 2, 3]))

    frames = with_engine(tmp_path, lambda engine: trace(engine, payload))

    assert frames[0] == "HotProtocol.data_received"
    assert frames[-1] == "OnnxSession.run"
    assert len(frames) <= MAX_FRAMES, frames
