"""The command `driftline-agent`."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from driftline_agent.accelerators import CPU, PROFILES
from driftline_agent.agent import Agent, Options
from driftline_agent.errors import AgentError
from driftline_agent.rows.row_file import make_row_file
from driftline_agent.server.device_clock import DeviceClock
from driftline_agent.server.identity import enrolment_key, forget_enrolment_key, read_identity, store_identity
from driftline_agent.server.server_client import check_url
from driftline_agent.server.uplink import enrol


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of the end of each connection with TLS
    try:
        options.command(options)
    except AgentError as error:
        print(f"driftline-agent: {error}", file=sys.stderr)
        sys.exit(1)


def _enrol(options: argparse.Namespace) -> None:
    check_url(options.url)
    with _alone(options.home):
        device = _device_of(options.home)
        key = enrolment_key(options.home)
        identity, first_sequence = enrol(options.url, options.code, DeviceClock(), key=key)
        if device not in ("", identity.device):
            raise AgentError(
                f"{options.home} is the home of the device {device}; give {identity.device} another one by --home, and "
                "make another code for it."
            )
        store_identity(options.home, identity)
        make_row_file(options.home, first_sequence, max_bytes=Options.max_row_bytes)
        forget_enrolment_key(options.home)
    print(f"This is the device {identity.device} of {identity.group}. Start it: driftline-agent run")


def _run(options: argparse.Namespace) -> None:
    with _alone(options.home):
        agent = Agent(
            Options(
                home=options.home,
                port=options.port,
                max_row_bytes=options.rows_mib << 20,
                poll_seconds=options.poll_seconds,
                profile=options.profile,
            )
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: agent.stop())
        agent.run()


def _device_of(home: Path) -> str:
    try:
        return read_identity(home).device
    except AgentError:
        return ""


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the home for this process alone; raises AgentError where another one has it."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        if os.name != "nt":
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise AgentError(f"Another agent runs in {home}; stop it first.") from error
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="driftline-agent", description="Answers with a model of Driftline on a device."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    enrolling = commands.add_parser("enrol", help="become a device, with a code of the page Devices")
    enrolling.add_argument(
        "url",
        help="the server's address, such as https://driftline.example.com, or that of NATS, such as "
        "tls://nats.example.com:4222",
    )
    enrolling.add_argument("code", type=_code, help="it works once, within a day")
    enrolling.set_defaults(command=_enrol)
    running = commands.add_parser("run", help="answer, update, and send what was predicted")
    running.add_argument(
        "--port", type=_port, default=Options.port, help="where it answers, on 127.0.0.1 alone"
    )
    running.add_argument(
        "--rows-mib",
        type=_positive,
        default=Options.max_row_bytes >> 20,
        help="room for unsent rows; the oldest go first",
    )
    running.add_argument(
        "--poll-seconds",
        type=_seconds,
        default=Options.poll_seconds,
        help="how often it asks what is assigned",
    )
    running.add_argument(
        "--profile",
        choices=[CPU, *PROFILES],
        default=Options.profile,
        help="what runs the model; one that it does not run on, or answers otherwise on, stays on the cpu",
    )
    running.set_defaults(command=_run)
    for one in (enrolling, running):
        one.add_argument("--home", type=Path, default=_home(), help="where its identity, models and rows are")
    return parser


def _home() -> Path:
    usual = Path.home() / ".local" / "share" / "driftline-agent"
    return Path(os.environ.get("DRIFTLINE_AGENT_HOME") or usual)


def _code(text: str) -> str:
    code = text.strip()
    if not code.replace("_", "").isalnum() or not code.isascii():
        raise argparse.ArgumentTypeError("copy the code as the page Devices shows it")
    return code


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError("use a whole number from 1 to 65535")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 20:
        raise argparse.ArgumentTypeError("use a whole number from 1 to 1048576")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("use a number from 0.1 to 86400")
    return seconds
