"""Where the stories are: small files that pages read, and from which a second run continues."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct

from driftline.base.durable_files import write_file
from driftline.demo.plan import ModelPlan


class StoryProgress(Struct, frozen=True, kw_only=True):
    """How far a story has come, in event time."""

    model: str
    until: datetime
    doing: str
    """What is under way, in a few words."""
    singly_from: datetime | None = None
    """From when on each row is asked about by itself; before, those of an hour are asked about at once."""

    @property
    def is_live(self) -> bool:
        """Whether the traffic has come to the present."""
        return datetime.now(UTC) - self.until < timedelta(days=1)

    def share(self, plan: ModelPlan) -> float:
        """Return which part of its past the story has played."""
        played, past = self.until - plan.quiet_from, datetime.now(UTC) - plan.quiet_from
        return min(1.0, played / past)

    def sentence(self) -> str:
        """Describe in one line what is being sent."""
        moment = "live, a row a minute" if self.is_live else format(self.until, "%-d %B %Y")
        return f"{self.model}: {moment}; {self.doing}"


def load_story(home: Path, model: str) -> StoryProgress | None:
    """Read how far a model's story has come; None where it was never begun."""
    try:
        return msgspec.json.decode((home / "demo" / f"{model}.json").read_bytes(), type=StoryProgress)
    except FileNotFoundError:
        return None


def save_story(home: Path, progress: StoryProgress) -> StoryProgress:
    write_file(home / "demo" / f"{progress.model}.json", msgspec.json.encode(progress))
    return progress
