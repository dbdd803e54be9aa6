"""Replays the flights through the public API: seven months of history day by day, then live on a faster clock.

Each flight is one inference request at its scheduled departure; its label follows when the flight really
landed, plus half an hour. A day is sent only when the day before has been computed, so that rules, runs and
promotions happen between the same flights on any machine.
"""

import sys
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import msgspec

from driftline.demo.flights_timeline import (
    DAY,
    EPOCH,
    HISTORY_START,
    LIVE_END,
    LIVE_START,
    MICROSECOND,
    LandedFlight,
    Timeline,
    time_text,
    to_us,
)
from driftline.demo.progress import HISTORY, LIVE, ReplayProgress, save_progress
from driftline.demo.traffic import LIVE_TICK_S, Traffic

TOTAL_DAYS = (LIVE_START - HISTORY_START).days

PARTS = (timedelta(), timedelta(hours=6), DAY)
"""A day of history is sent in two parts, flights before labels: when a window of the day before becomes ripe
with the flights of the morning, the labels of its night flights are there."""
RECENT_DAYS = 10
QUIET_LINES = 10
"""Without a terminal, one line in so many days."""


class Replay:
    """One replay against one server; `run` goes on until the process is stopped."""

    def __init__(
        self,
        *,
        home: Path,
        timeline: Timeline,
        traffic: Traffic,
        progress: ReplayProgress,
        tick_s: float = LIVE_TICK_S,
    ) -> None:
        self._home = home
        self._timeline = timeline
        self._traffic = traffic
        self._tick_s = tick_s
        self._progress = progress
        self._shift = progress.shift

    def run(self, *, history_days: int = TOTAL_DAYS) -> None:
        """Send what is left of history, then live flights for ever (after all of history only)."""
        if self._progress.phase != LIVE:
            self._replay_history(history_days)
        if self._progress.phase == LIVE:
            self._replay_live()

    # -- history -------------------------------------------------------------------------------------------------------
    def _replay_history(self, history_days: int) -> None:
        recent: deque[tuple[int, float]] = deque(maxlen=RECENT_DAYS)
        for number in range(self._progress.day, history_days):
            started = time.monotonic()
            day = HISTORY_START + number * DAY
            self._note(phase=HISTORY, event_day=(day + self._shift).date())
            flights = self._send_day(day)
            recent.append((flights, time.monotonic() - started))
            self._note(
                day=number + 1,
                flights_sent=self._progress.flights_sent + flights,
                flights_per_second=sum(n for n, _ in recent) / sum(s for _, s in recent),
                remaining_seconds=(history_days - number - 1) * sum(s for _, s in recent) / len(recent),
            )
            _show(self._progress)
        if self._progress.day >= TOTAL_DAYS:  # homes of releases with a longer history may be beyond
            self._send_last_labels()
            self._note(phase=LIVE, flight_time=LIVE_START, remaining_seconds=None)

    def _send_day(self, day: datetime) -> int:
        """Send a day's flights and the labels that landed in it, and wait until all of it is computed."""
        for start, end in pairwise(day + part for part in PARTS):
            rows = self._timeline.rows_between(start, end)
            self._traffic.ask(list(self._timeline.requests(rows, shift=self._shift)))
            landed = self._timeline.landed_between(start, end)
            self._send_labels([flight for flight in landed if self._was_sent(flight)])
        rows = self._timeline.rows_between(day, day + DAY)
        if rows:
            self._traffic.wait_until_computed(
                EPOCH + self._timeline.departure_us(rows[-1]) * MICROSECOND + self._shift
            )
        return len(rows)

    def _was_sent(self, flight: LandedFlight) -> bool:
        """Whether the flight left within the replay: the first landings belong to the reference's last evening."""
        return self._timeline.departure_us(flight.row) >= to_us(HISTORY_START)

    def _send_last_labels(self) -> None:
        """Send the labels of history that land after its end, but none with a time that is yet to come."""
        rows = self._timeline.rows_between(HISTORY_START, LIVE_START)
        self._send_labels(self._timeline.landed_after(LIVE_START, rows))

    def _send_labels(self, landed: Sequence[LandedFlight]) -> None:
        now = datetime.now(UTC).isoformat()
        self._traffic.label(
            [
                {"id": f.id, "label": f.label, "timestamp": min(time_text(f.landed_us, self._shift), now)}
                for f in landed
            ]
        )

    # -- live ----------------------------------------------------------------------------------------------------------
    def _replay_live(self) -> None:
        """Send each flight when its moment comes on a clock that is faster by the stated factor."""
        speed = DAY / timedelta(minutes=self._progress.minutes_per_day)
        began, origin = time.monotonic(), self._progress.flight_time or LIVE_START
        until = origin
        while True:
            reached = min(origin + timedelta(seconds=(time.monotonic() - began) * speed), LIVE_END)
            self._send_moment(until, reached)
            until = reached
            if reached == LIVE_END:  # the year is over: fly its last quarter again
                began, origin, until = time.monotonic(), LIVE_START, LIVE_START
                self._note(cycle=self._progress.cycle + 1)
            self._note(flight_time=until, event_day=datetime.now(UTC).date())
            time.sleep(self._tick_s)

    def _send_moment(self, start: datetime, end: datetime) -> None:
        suffix = f".{self._progress.cycle}" if self._progress.cycle else ""
        rows = self._timeline.rows_between(start, end)
        self._traffic.ask(list(self._timeline.requests(rows, shift=None, suffix=suffix)))
        live = self._timeline.rows_between(LIVE_START, LIVE_END)
        landed = [flight for flight in self._timeline.landed_between(start, end) if flight.row in live]
        now = datetime.now(UTC).isoformat()
        self._traffic.label([{"id": f.id + suffix, "label": f.label, "timestamp": now} for f in landed])
        if rows:
            self._note(flights_sent=self._progress.flights_sent + len(rows))

    def _note(self, **changes: object) -> None:
        self._progress = save_progress(self._home, msgspec.structs.replace(self._progress, **changes))


def _show(progress: ReplayProgress) -> None:
    """Draw the bar on a terminal; elsewhere say a line now and then."""
    if sys.stdout.isatty():
        done = round(progress.share * 30)
        print(f"\r[{'#' * done}{'.' * (30 - done)}] {progress.sentence()}   ", end="", flush=True)
    elif progress.day % QUIET_LINES == 0 or progress.day == progress.total_days:
        print(progress.sentence(), flush=True)
