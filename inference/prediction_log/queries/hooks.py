"""What the log asks of the sources, which bring rows to it and provide the answers."""

from dataclasses import dataclass
from datetime import datetime

from driftline.base.hooks import Hook
from inference.registry.models import Model


@dataclass(frozen=True)
class SourceLag:
    """The source of a model that is furthest behind: its name, and by how many seconds."""

    source: str
    seconds: float


def _nothing_is_behind(model: Model, now: datetime) -> SourceLag | None:
    return None


find_lag = Hook(_nothing_is_behind)
"""Returns how far the sources of a model are behind; None where it has none that is to be read, or was long enough."""
