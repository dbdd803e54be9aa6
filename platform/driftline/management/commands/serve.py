from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from driftline.base.http.ports import grpc_port_beside
from driftline.base.outbound.targets import outbound_rules
from driftline.operations.backup.mark import describe_mark
from driftline.operations.observability.trace_settings import trace_options
from driftline.operations.services.listening import UnableToListen, check_listening, server_certificate
from inference.hosts.joining import join
from inference.runtime.isolated.limits import IsolationLimits
from inference.runtime.machine_memory import half_of_memory
from inference.serving.job_limits import MAX_OPEN_JOBS, JobLimits
from inference.serving.main import serve_forever
from inference.serving.options import EngineOptions


def _engine_options(*, takes_jobs: bool) -> EngineOptions:
    jobs = JobLimits(
        max_open=MAX_OPEN_JOBS if takes_jobs else 0,
        deadline_seconds=settings.JOB_DEADLINE_SECONDS,
        keep_seconds=settings.JOB_KEEP_SECONDS,
        max_bytes=settings.JOB_MAX_BYTES,
    )
    return EngineOptions(
        fsync=settings.SPOOL_FSYNC,
        sync_ms=settings.SPOOL_SYNC_MS,
        spool_max_bytes=settings.SPOOL_MAX_BYTES,
        seals=settings.ENCRYPT_LOG,
        max_memory_bytes=settings.SERVING_MEMORY_BYTES or half_of_memory(),
        jobs=jobs,
        outbound=outbound_rules(),
        isolation=IsolationLimits(memory_bytes=settings.ISOLATED_MEMORY_BYTES),
        traces=trace_options(),
        trusted_proxies=settings.TRUSTED_PROXIES,
    )


class Command(BaseCommand):
    help = "Serves inference, the API and the pages, and drains the spool into the log beside them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--only", choices=["inference", "web"], help="serve one plane alone, for scale")
        parser.add_argument(
            "--join",
            metavar="URL",
            help="serve what the main server at URL publishes, with DRIFTLINE_HOST_TOKEN; needs --only inference",
        )
        parser.add_argument(
            "--host", default=settings.LISTEN_HOST, help="address to listen on (default DRIFTLINE_HOST)"
        )
        parser.add_argument("--port", type=int, default=settings.PORT, help="port (default DRIFTLINE_PORT)")
        parser.add_argument(
            "--grpc-port",
            type=int,
            default=settings.GRPC_PORT,
            help="port of gRPC (default DRIFTLINE_GRPC_PORT, else the one after --port; 0 for none)",
        )
        parser.add_argument("--workers", type=int, default=settings.WEB_WORKERS, help="serving processes")

    def handle(self, *args: Any, **options: Any) -> None:
        only = options["only"]
        if reason := describe_mark(settings.HOME):
            raise CommandError(reason)
        if only != "inference" and not settings.HAS_PAGES:
            raise CommandError("Only the packages of a serving host are installed: add --only inference.")
        try:
            for warning in check_listening(options["host"]):
                self.stderr.write(self.style.WARNING(warning))
            certificate = server_certificate()
        except UnableToListen as error:
            raise CommandError(str(error)) from error
        side_commands: list[tuple[str, ...]] = [] if only == "web" else [("drain_spool",)]
        if options["join"]:
            self._join(options["join"], only)
            side_commands.append(("follow_plan", options["join"]))
        elif only != "inference":
            from inference.registry.plan.publishing import publish  # loads ONNX

            publish()  # an inference server starts from the plan file alone, with the database down
        connections.close_all()
        serve_forever(
            settings.HOME,
            options["host"],
            options["port"],
            grpc_port=None if only == "web" else grpc_port_beside(options["port"], options["grpc_port"]),
            workers=options["workers"],
            asgi_app=None if only == "inference" else "driftline.asgi:application",
            options=_engine_options(takes_jobs=not options["join"]),
            certificate=certificate,
            side_processes={
                f"manage.py {command[0]}": partial(call_command, *command) for command in side_commands
            },
        )

    def _join(self, url: str, only: str | None) -> None:
        """Bring the first plan to a serving host."""
        if only != "inference":
            raise CommandError("A serving host answers inference alone: add --only inference to --join.")
        if not settings.DATABASE_URL:
            raise CommandError(
                "A serving host drains its log into the database of the main server: set DRIFTLINE_DATABASE_URL."
            )
        try:
            join(settings.HOME, url, self.stderr.write)
        except ValueError as error:
            raise CommandError(str(error)) from error
