"""The agent: a server on loopback for programs of the device, and one thread that talks to Driftline."""

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from driftline_agent.accelerators import CPU, check_profile
from driftline_agent.errors import NotReached, Revoked, ServerRefused
from driftline_agent.http_server import LoopbackServer
from driftline_agent.rows.row_file import RowFile
from driftline_agent.rows.row_store import RowStore, is_damage
from driftline_agent.rows.sender import Sender
from driftline_agent.rows.summariser import Summariser
from driftline_agent.server.device_clock import DeviceClock
from driftline_agent.server.identity import read_identity
from driftline_agent.server.second_opinion import SecondOpinion
from driftline_agent.server.updater import Updater
from driftline_agent.server.uplink import Uplink
from driftline_agent.serving import Dataplane, ModelInUse
from driftline_agent.versions import VersionStore

log = logging.getLogger("driftline_agent")


@dataclass(frozen=True)
class Options:
    """What `run` takes."""

    home: Path
    port: int = 8088
    max_row_bytes: int = 64 << 20
    poll_seconds: float = 30.0
    send_seconds: float = 1.0
    profile: str = CPU

    @property
    def longest_wait_seconds(self) -> float:
        """How long it waits at most before it tries again to reach a server that is away."""
        return 10 * self.poll_seconds


class Agent:
    """Everything that runs on a device."""

    def __init__(self, options: Options) -> None:
        """Prepare to answer with what is on the disk; raises AgentError where the device was not enrolled.

        So it does where this ONNX Runtime lacks what the profile names, and where another program has the port.
        """
        check_profile(options.profile)
        self._options = options
        self._identity = read_identity(options.home)
        self._clock = DeviceClock()
        self._stop = threading.Event()
        self._poll_at = 0.0
        self._uplink = Uplink(
            self._identity.url, self._identity.token, self._clock, self._identity.public_key
        )
        self._in_use = ModelInUse()
        self._opinion = SecondOpinion(self._identity, self._clock)
        self._dataplane = Dataplane(self._in_use, None, self._identity.device, self._opinion)
        self._server = LoopbackServer(options.port, self._dataplane)
        self._row_file = RowFile(options.home, max_bytes=options.max_row_bytes, clock=self._clock)
        self._rows: RowStore | None = None
        self._sender: Sender | None = None
        self._summariser: Summariser | None = None
        self._updater = Updater(
            options.home,
            self._identity,
            VersionStore(options.home),
            self._in_use,
            self._uplink,
            self._clock,
            options.profile,
        )
        self._updater.load_from_disk()
        self._have_rows()

    @property
    def port(self) -> int:
        """Where it answers."""
        return self._server.server_port

    def stop(self) -> None:
        """End `run` soon; safe in a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Answer programs, and keep up with the server, until `stop`."""
        thread = threading.Thread(target=self._server.serve_forever, name="loopback", daemon=True)
        thread.start()
        log.info("device %s answers on http://127.0.0.1:%s", self._identity.device, self.port)
        try:
            self._keep_up()
        finally:
            self._server.shutdown()
            self.close()

    def close(self) -> None:
        """Close what an agent that does not run has open."""
        self._server.server_close()
        self._uplink.close()
        self._opinion.close()
        if self._rows is not None:
            self._try(self._count_unstored)
            self._rows.close()

    # -- the thread that talks to Driftline ----------------------------------------------------------------------------
    def _keep_up(self) -> None:
        failures = 0
        while not self._stop.is_set():
            steps = [
                self._updater.look_at_failures,
                self._updater.accelerate,
                self._have_rows,
                self._count_unstored,
                self._send_all,
                self._add_up,
            ]
            if time.monotonic() >= self._poll_at:
                steps = [self._updater.poll, self._note_clock, self._report, *steps]
                self._poll_at = time.monotonic() + self._options.poll_seconds
            errors = [error for step in steps if (error := self._try(step)) is not None]
            failures = failures + 1 if errors else 0
            if errors:
                self._poll_at = 0.0  # the wait decides when it tries again
            if any(isinstance(error, Revoked) for error in errors):
                failures = max(failures, 8)  # it may be enrolled anew, some day
            self._wait(failures)

    def _try(self, step: Callable[[], None]) -> Exception | None:
        """Do one step and return what went wrong; no step keeps another one from being tried."""
        try:
            step()
            return None
        except (NotReached, ServerRefused) as error:
            log.info("the server is not reached: %s", error)
            return error
        except (OSError, sqlite3.Error) as error:  # such as a disk that is full
            log.error("the disk takes nothing: %s", error)
            if is_damage(error):
                self._close_damaged_rows()
            return error
        except Revoked as error:
            log.error("%s; it goes on to answer without updates", error)
            return error
        except Exception as error:  # a defect here must not end the answers
            log.exception("an exchange with the server fails")
            return error

    def _note_clock(self) -> None:
        if self._rows is not None:
            self._rows.note_clock()

    def _report(self) -> None:
        self._updater.look_at_failures()
        release, failure = self._updater.outcome()
        model = self._in_use.model
        self._row_file.next_sequence = self._uplink.send_status(
            release=release,
            version=model.manifest.version if model else "",
            failure=failure,
            skew_ms=self._clock.skew_ms(),
            unsent_rows=self._rows.unsent_rows() if self._rows else 0,
            dropped_rows=(self._rows.dropped_rows() if self._rows else 0) + self._dataplane.unstored_rows,
            # a server that does not know it would refuse the whole report
            **({"runs_on": model.runs_on[:200]} if model and model.runs_on != CPU else {}),
        )

    def _have_rows(self) -> None:
        """Open the file of rows, unless it is open; until then requests are answered without ids."""
        if self._rows is None and (rows := self._row_file.open()) is not None:
            self._rows = self._dataplane.rows = rows
            self._sender = Sender(self._identity, rows, self._uplink)
            self._summariser = Summariser(self._identity, rows, self._uplink)

    def _close_damaged_rows(self) -> None:
        """Close the file of rows, so that the next attempt to open it puts it aside."""
        rows, self._rows = self._rows, None
        self._dataplane.rows = self._sender = self._summariser = None
        if rows is not None:
            rows.close_untouched()

    def _count_unstored(self) -> None:
        """Count rows that could not be stored in the file of rows, once that takes something again."""
        if self._rows is not None and (rows := self._dataplane.unstored_rows):
            self._rows.count_dropped(rows)
            self._dataplane.forget_unstored(rows)

    def _send_all(self) -> None:
        sender = self._sender
        while sender is not None and sender.send_batch() and not self._is_needed_elsewhere():
            pass

    def _add_up(self) -> None:
        """Add up rows that are not sent whole, and send hours that are over, once the server was heard of."""
        summariser, server_ms, model = self._summariser, self._clock.server_ms(), self._in_use.model
        if summariser is None:
            return
        while summariser.add_rows() and not self._is_needed_elsewhere():
            pass
        if server_ms is None:
            return
        if model is not None and model.manifest.sampling < 1:
            summariser.prepare(model.manifest.version)
        while summariser.send_batch(server_ms) and not self._is_needed_elsewhere():
            pass

    def _is_needed_elsewhere(self) -> bool:
        """Return whether rows, of which there may be many, have to wait for something else."""
        is_poll_due = time.monotonic() >= self._poll_at
        return self._stop.is_set() or self._in_use.needs_look.is_set() or is_poll_due

    def _wait(self, failures: int) -> None:
        """Wait a moment, or longer and longer while the server is away, not in step with other devices."""
        seconds = self._options.send_seconds * 2 ** min(failures, 12)
        seconds = min(seconds, self._options.longest_wait_seconds) * random.uniform(0.5, 1.0)
        until = time.monotonic() + seconds
        while not self._stop.is_set() and (left := until - time.monotonic()) > 0:
            if self._in_use.needs_look.is_set():
                self._try(self._updater.look_at_failures)
            self._stop.wait(min(left, 0.25))
