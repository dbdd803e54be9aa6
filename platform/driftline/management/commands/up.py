import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from driftline.base.http.ports import grpc_port_beside
from driftline.operations.backup.mark import describe_mark
from driftline.operations.services.children import Installation, stages
from driftline.operations.services.demos import DEMOS
from driftline.operations.services.listening import UnableToListen, check_listening
from driftline.operations.services.ownership import AlreadyRunning, Owner, own
from driftline.operations.services.paths import UnsafeSocketFolder, create_folders, home_paths
from driftline.operations.services.postgres import NoPostgres, WrongPostgresVersion
from driftline.operations.services.processes import ChildNotStarted
from driftline.operations.services.supervisor import Supervisor, signals_taken
from driftline.operations.services.valkey import NoValkey
from driftline.settings import environment as env
from driftline.sign_in.bootstrap import PROJECT, Credentials, working_credentials

NO_TOKEN = (
    "the first one is not valid here any more; "
    f"`manage.py token create --project {PROJECT} --name N --scopes read,log,label` makes another."
)


class Command(BaseCommand):
    help = "Runs the whole installation until Ctrl-C: embedded services, web, worker and scheduler."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--demo", choices=DEMOS, help="set up and play all stories of the demo, or one of them"
        )
        parser.add_argument(
            "--documentation",
            action="store_true",
            help="build the pages under /docs/ once everything runs, where they changed",
        )
        parser.add_argument(
            "--host", default=settings.LISTEN_HOST, help="address to listen on (default DRIFTLINE_HOST)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        installation = _installation(options)
        if reason := describe_mark(installation.paths.home):
            raise CommandError(reason)
        try:
            for warning in check_listening(installation.host):
                self.stderr.write(self.style.WARNING(warning))
            if installation.demo:
                _check_demo(installation)
                _allow_receiver()
            create_folders(installation.paths)
            owner = Owner(os.getpid(), installation.url, datetime.now(UTC).isoformat(timespec="seconds"))
            with signals_taken(), own(installation.paths, owner):
                _check_ports(installation)
                self._run(installation)
        except (
            AlreadyRunning,
            NoPostgres,
            NoValkey,
            DemoNotPossible,
            PortTaken,
            UnableToListen,
            ChildNotStarted,
            UnsafeSocketFolder,
            WrongPostgresVersion,
        ) as error:
            raise CommandError(str(error)) from error

    def _run(self, installation: Installation) -> None:
        self._say(f"Driftline starts in {installation.paths.home}; logs are in {installation.paths.log}.")
        supervisor = Supervisor(installation.paths, self._say, max_log_bytes=settings.LOG_MAX_BYTES)
        supervisor.run(stages(installation), announce=lambda: self._announce(installation))
        self._say("Driftline has stopped.")

    def _announce(self, installation: Installation) -> None:
        credentials = working_credentials(installation.paths.home)
        connection.close()  # the supervisor outlives many database servers
        self._say(f"  {'login':<14}{_age_of_process():7.1f} s after the command")
        self._say("")
        self._say(f"URL:   {settings.PUBLIC_URL}")
        if installation.grpc_port is not None:
            self._say(f"gRPC:  {installation.host}:{installation.grpc_port}")
        self._say(f"Login: {_say_login(credentials)}")
        self._say(f"Token: {credentials.token or NO_TOKEN}")
        self._say("Press Ctrl-C to stop.")
        self._say("")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _age_of_process() -> float:
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _say_login(credentials: Credentials) -> str:
    if credentials.password is not None:
        return f"{credentials.email}  password: {credentials.password}"
    if credentials.email is not None:
        return (
            f"{credentials.email}, with the password that was chosen since; "
            f"`manage.py changepassword {credentials.email}` sets another."
        )
    return "with an account of this database; `manage.py changepassword EMAIL` sets its password."


class PortTaken(Exception):
    """Something else listens on a port of this installation."""


class DemoNotPossible(Exception):
    """The demo would not reach this installation."""


def _installation(options: dict[str, Any]) -> Installation:
    return Installation(
        paths=home_paths(settings.HOME),
        host=options["host"],
        port=settings.PORT,
        grpc_port=grpc_port_beside(settings.PORT, settings.GRPC_PORT),
        web_workers=settings.WEB_WORKERS,
        task_workers=settings.TASK_WORKERS,
        device_nats=bool(settings.DEVICE_NATS),
        embedded_database=not settings.DATABASE_URL,
        embedded_broker=not settings.BROKER_URL,
        demo=options["demo"],
        builds_documentation=options["documentation"],
        wal_archive=settings.WAL_ARCHIVE,
    )


def _check_demo(installation: Installation) -> None:
    if installation.url != f"http://127.0.0.1:{installation.port}":
        raise DemoNotPossible(
            f"The demo speaks plain HTTP to 127.0.0.1, and this server is at {installation.url}; run it without "
            "DRIFTLINE_HOST and DRIFTLINE_TLS_CERTIFICATE, or without --demo."
        )


def _allow_receiver() -> None:
    """Allow the webhooks of the demo to reach the receiver beside it, unless the operator says what is allowed."""
    if not settings.OUTBOUND_ALLOW:
        os.environ[env.OUTBOUND_ALLOW.name] = "127.0.0.1/32"
        settings.OUTBOUND_ALLOW = env.OUTBOUND_ALLOW.read()


def _check_ports(installation: Installation) -> None:
    """Find a taken port before anything starts: the server would only say so in its log."""
    _check_port(installation.host, installation.port, "set DRIFTLINE_PORT to a free one")
    if installation.grpc_port is not None:
        _check_port(
            installation.host,
            installation.grpc_port,
            "set DRIFTLINE_GRPC_PORT to a free one, or to 0 for no gRPC",
        )


def _check_port(host: str, port: int, remedy: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(f"Port {port} is taken ({error.strerror}); {remedy}.") from error
