"""One serving process, forked with the listening socket from the parent that keeps it alive."""

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
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.importer import import_from_string

from driftline.base.http.networks import parse_networks
from inference.prediction_log.spool.segments import spooled_bytes
from inference.runtime.isolated.processes import PROCESSES
from inference.serving.certificate import CertificateFiles
from inference.serving.crashes import MARKS
from inference.serving.engine.engine import Engine
from inference.serving.http.asgi import wrap
from inference.serving.http.connection import IDLE_SECONDS, HotProtocol
from inference.serving.jobs.service import Jobs
from inference.serving.options import WorkerOptions
from inference.serving.plan_watcher import PlanWatcher
from inference.serving.processes.process_watch import ProcessWatch
from inference.serving.status.status import StatusFile

if TYPE_CHECKING:
    from inference.serving.grpc.server import GrpcServer

SWEEP_SECONDS = 0.25
GRACE_SECONDS = 20
SWITCH_INTERVAL = 0.0005  # how long a background thread may keep the event loop waiting for the interpreter


class WorkerServer(uvicorn.Server):
    """uvicorn's server, with our clean-up after the last answer instead of death by the signal raised again."""

    def __init__(self, config: uvicorn.Config, jobs: Jobs, beside: "GrpcServer | None") -> None:
        super().__init__(config)
        self._jobs = jobs
        self._beside = beside

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain both servers at the same time."""
        self._jobs.drain()
        draining = [super().shutdown(sockets)]
        if self._beside is not None:
            draining.append(self._beside.drain(GRACE_SECONDS))
        await asyncio.gather(*draining)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield


async def serve(options: WorkerOptions) -> bool:
    """Serve until SIGTERM, then answer what is under way and spool what the shadows owe.

    False where a shadow's run would not end.
    """
    home = Path(options.home)
    loop = asyncio.get_running_loop()
    MARKS.keep_in(home)
    PROCESSES.limits = options.engine.isolation
    watcher = PlanWatcher(
        home,
        lambda table: loop.call_soon_threadsafe(engine.adopt, table),
        options.engine.outbound,
        parse_networks(tuple(options.engine.trusted_proxies)),
    )
    engine = Engine(home, options.engine, watcher.request)
    status = StatusFile(home, engine)
    application = import_from_string(options.asgi_app) if options.asgi_app else None
    watcher.start()
    await asyncio.sleep(0)  # lets the engine adopt the first table
    certificate = CertificateFiles(options.certificate) if options.certificate else None
    grpc_server = _make_grpc_server(options, engine, certificate)
    jobs = Jobs(engine, options.engine.jobs)
    server = WorkerServer(_uvicorn_config(engine, jobs, application, certificate), jobs, grpc_server)
    listener = socket.socket(fileno=options.socket_fd)
    gc.collect()
    gc.freeze()
    if grpc_server is not None:
        await grpc_server.start()
    engine.is_ready = True
    jobs.start()
    plain_port = listener.getsockname()[1] if certificate is None else None
    watch = ProcessWatch(lambda: server.server_state.connections, plain_port, options.engine.max_memory_bytes)
    watch.start()
    sweeping = loop.create_task(_sweep(server, engine, home, status, certificate))
    try:
        await server.serve(sockets=[listener])
        await jobs.finish()
        engine.spools.log_request_counts()
        while not engine.is_idle():
            await asyncio.sleep(0.01)
    finally:
        watch.stop()
        engine.is_ready = False
        sweeping.cancel()
        watcher.stop()
        has_ended = engine.close()
        PROCESSES.close()
        status.close()
        MARKS.remove()
    return has_ended


def _make_grpc_server(
    options: WorkerOptions, engine: Engine, certificate: CertificateFiles | None
) -> "GrpcServer | None":
    if options.grpc_address is None:
        return None
    from inference.serving.grpc.server import GrpcServer  # who does without it need not load it

    return GrpcServer(engine, options.grpc_address, certificate)


def _uvicorn_config(
    engine: Engine, jobs: Jobs, application: Any, certificate: CertificateFiles | None
) -> uvicorn.Config:
    return uvicorn.Config(
        wrap(application, engine, jobs.api),
        http=HotProtocol.bind(
            engine, requires_certificate=certificate is not None and certificate.requires_client_certificate
        ),
        ws="none",
        loop="none",
        lifespan="auto" if application is not None else "off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        timeout_keep_alive=int(IDLE_SECONDS),
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_context_factory=(lambda *_: certificate.context()) if certificate else None,
    )


async def _sweep(
    server: WorkerServer,
    engine: Engine,
    home: Path,
    status: StatusFile,
    certificate: CertificateFiles | None,
) -> None:
    """Do what has to be done now and then: overdue connections, the spool's size, the status file, the certificate."""
    loop = asyncio.get_running_loop()
    while True:
        now = time.monotonic()
        for connection in list(server.server_state.connections):
            if isinstance(connection, HotProtocol):
                connection.close_if_overdue(now)
        count = functools.partial(spooled_bytes, home)
        engine.spools.measure(await loop.run_in_executor(None, count))
        status.write_if_due(now)
        if certificate is not None:
            await loop.run_in_executor(None, certificate.reload_if_changed)
        await asyncio.sleep(SWEEP_SECONDS)


def main(options: WorkerOptions) -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.setswitchinterval(SWITCH_INTERVAL)
    import uvloop

    if not uvloop.run(serve(options)):
        os._exit(0)  # tearing the interpreter down under a running model crashes
