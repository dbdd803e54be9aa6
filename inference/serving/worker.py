"""One serving process: `python -m inference.serving.worker OPTIONS`, with the listening socket inherited."""

import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from msgspec import Struct
from uvicorn.importer import import_from_string

from inference.prediction_log.spool import spooled_bytes
from inference.serving.asgi import wrap
from inference.serving.engine import Engine, EngineOptions
from inference.serving.http import IDLE_SECONDS, MAX_BODY_BYTES, HotProtocol
from inference.serving.keeper import PlanKeeper

STATUS_FOLDER = "serving"
SWEEP_SECONDS = 0.25
STATUS_SECONDS = 1.0
GRACE_SECONDS = 20
SWITCH_INTERVAL = 0.0005  # how long a background thread may keep the event loop waiting for the interpreter


class WorkerOptions(Struct, frozen=True):
    """What a worker is told; `asgi_app` is "module:attribute" or None for inference alone."""

    home: str
    socket_fd: int
    parent_pid: int
    asgi_app: str | None = None
    engine: EngineOptions = EngineOptions()
    max_body_bytes: int = MAX_BODY_BYTES
    log_level: str = "warning"


class WorkerServer(uvicorn.Server):
    """uvicorn's server, with our clean-up after the last answer instead of death by the signal raised again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield


class StatusFile:
    """DRIFTLINE_HOME/serving/<pid>.json: the plan that is live in this process, and its counts."""

    def __init__(self, home: Path, engine: Engine) -> None:
        self._path = home / STATUS_FOLDER / f"{os.getpid()}.json"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = engine
        self._started_at = time.time()
        self._written = (0.0, -1)

    def write_if_due(self, now: float) -> None:
        """Write the file every second, and at once when another plan is live."""
        generation = self._engine.table.generation
        if now - self._written[0] >= STATUS_SECONDS or generation != self._written[1]:
            self._written = (now, generation)
            self.write()

    def write(self) -> None:
        draft = self._path.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(snapshot_metrics(self._engine, self._started_at)))
        draft.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def snapshot_metrics(engine: Engine, started_at: float) -> dict[str, Any]:
    """Describe this process: identity, live plan, models that could not follow it, spool and counts."""
    table = engine.table
    return {
        "pid": os.getpid(),
        "started_at": started_at,
        "written_at": time.time(),
        "ready": engine.is_ready,
        "generation": table.generation,
        "stale_models": {str(model_id): reason for model_id, reason in table.stale_models.items()},
        "failed_versions": {str(version_id): reason for version_id, reason in table.failed.items()},
        "spool": {
            "fsync": engine.options.fsync,
            "written_bytes": engine.spool_written(),
            "waiting_bytes": engine.spool_bytes,
            "full": engine.spool_is_full,
        },
        **engine.metrics.snapshot(),
    }


async def serve(options: WorkerOptions) -> bool:
    """Serve until SIGTERM, then answer what is under way and spool what the shadows owe.

    False where a shadow's run would not end.
    """
    home = Path(options.home)
    loop = asyncio.get_running_loop()
    keeper = PlanKeeper(home, lambda table: loop.call_soon_threadsafe(engine.adopt, table))
    engine = Engine(home, options.engine, keeper.want)
    status = StatusFile(home, engine)
    application = import_from_string(options.asgi_app) if options.asgi_app else None
    keeper.start()
    await asyncio.sleep(0)  # lets the engine adopt the first table
    server = WorkerServer(_uvicorn_config(options, engine, application))
    listener = socket.socket(fileno=options.socket_fd)
    gc.collect()
    gc.freeze()
    engine.is_ready = True
    sweeping = loop.create_task(_sweep(server, engine, home, status))
    try:
        await server.serve(sockets=[listener])
        while not engine.is_idle():
            await asyncio.sleep(0.01)
    finally:
        engine.is_ready = False
        sweeping.cancel()
        keeper.stop()
        has_ended = engine.close()
        status.remove()
    return has_ended


def _uvicorn_config(options: WorkerOptions, engine: Engine, application: Any) -> uvicorn.Config:
    return uvicorn.Config(
        wrap(application, engine),
        http=HotProtocol.bind(engine, options.max_body_bytes),
        ws="none",
        loop="none",
        lifespan="auto" if application is not None else "off",
        log_level=options.log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        timeout_keep_alive=int(IDLE_SECONDS),
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


async def _sweep(server: WorkerServer, engine: Engine, home: Path, status: StatusFile) -> None:
    """Do what has to be done now and then: overdue connections, the spool's size, the status file."""
    loop = asyncio.get_running_loop()
    while True:
        now = time.monotonic()
        for connection in list(server.server_state.connections):
            if isinstance(connection, HotProtocol):
                connection.close_if_overdue(now)
        count = functools.partial(spooled_bytes, home)
        engine.measure_spool(await loop.run_in_executor(None, count))
        status.write_if_due(now)
        await asyncio.sleep(SWEEP_SECONDS)


def main() -> None:
    """Run the worker that the command line describes."""
    options = msgspec.json.decode(sys.argv[1], type=WorkerOptions)
    if os.getppid() != options.parent_pid:
        sys.exit("The parent died before this worker was under way.")
    logging.basicConfig(level=options.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    sys.setswitchinterval(SWITCH_INTERVAL)
    import uvloop

    if not uvloop.run(serve(options)):
        os._exit(0)  # tearing the interpreter down under a running model crashes


if __name__ == "__main__":
    main()
