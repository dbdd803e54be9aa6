"""Where the replays are: small files that pages read, and from which a second run continues."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct

from driftline.common.durable_files import write_file

SETUP, HISTORY, LIVE = "setup", "history", "live"


class ReplayProgress(Struct, frozen=True, kw_only=True):
    """The replay's position and speed. Days of 2013 are moved by `shift_weeks` to end at the present."""

    phase: str
    day: int = 0
    """Days of history that are sent and computed."""
    total_days: int
    started_at: datetime
    updated_at: datetime
    shift_weeks: int
    minutes_per_day: int
    """Minutes that one flight day takes in the live phase; label lags are shortened alike."""
    event_day: date | None = None
    """The day that is being replayed, moved to the present."""
    flights_sent: int = 0
    flights_per_second: float | None = None
    remaining_seconds: float | None = None
    flight_time: datetime | None = None
    """Live phase: the moment of 2013 that is now."""
    cycle: int = 0
    """Live phase: how often the last quarter of 2013 has been flown."""

    @property
    def shift(self) -> timedelta:
        return timedelta(weeks=self.shift_weeks)

    @property
    def share(self) -> float:
        return self.day / self.total_days if self.total_days else 1.0

    def sentence(self) -> str:
        """Say in one line what is being replayed."""
        if self.phase == HISTORY:
            left = "" if self.remaining_seconds is None else f", about {self.remaining_seconds:.0f} s left"
            rate = "" if self.flights_per_second is None else f", {self.flights_per_second:,.0f} flights/s"
            return f"Flights: day {self.day} of {self.total_days} ({self.event_day}){rate}{left}"
        if self.phase == LIVE and self.flight_time is not None:
            moment = f"{self.flight_time:%d %B %Y}"
            return (
                f"Flights: live, those of {moment} as they happen, one day in {self.minutes_per_day} minutes"
            )
        return "Flights: being set up"


class StoryProgress(Struct, frozen=True, kw_only=True):
    """How far a story of drawn days has come, in event time."""

    model: str
    until: datetime
    doing: str
    """What is under way, in a few words."""
    rows_a_day: int

    @property
    def is_live(self) -> bool:
        """Whether the traffic has come to the present."""
        return datetime.now(UTC) - self.until < timedelta(days=1)

    def sentence(self) -> str:
        """Say in one line what is being sent."""
        live = f"live, {self.rows_a_day:,} rows a day as they happen"
        return f"{self.model}: {live if self.is_live else format(self.until, '%-d %B %Y')}; {self.doing}"


def load_story(home: Path, model: str) -> StoryProgress | None:
    """Read how far a model's story has come; None where it was never begun."""
    try:
        return msgspec.json.decode((home / "demo" / f"{model}.json").read_bytes(), type=StoryProgress)
    except FileNotFoundError:
        return None


def save_story(home: Path, progress: StoryProgress) -> StoryProgress:
    write_file(home / "demo" / f"{progress.model}.json", msgspec.json.encode(progress))
    return progress


def progress_path(home: Path) -> Path:
    return home / "demo" / "progress.json"


def load_progress(home: Path) -> ReplayProgress | None:
    """Read the replay's position; None where no demo was ever started."""
    try:
        content = progress_path(home).read_bytes()
    except FileNotFoundError:
        return None
    return msgspec.json.decode(content, type=ReplayProgress)


def save_progress(home: Path, progress: ReplayProgress) -> ReplayProgress:
    """Replace the file as one, so that a reader never sees half of it."""
    path = progress_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = msgspec.structs.replace(progress, updated_at=datetime.now(UTC))
    write_file(path, msgspec.json.encode(kept))
    return kept
