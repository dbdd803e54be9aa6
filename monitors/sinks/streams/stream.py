"""What the loop asks of each stream: the next batch of it, and how much waits."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from driftline.base.accounts.models import Project
from driftline.base.http.responses import write_json
from monitors.sinks.models import SinkStream


class SinkMessage(NamedTuple):
    """One message: of which model, empty where it is of none, a key that no other thing has, and JSON."""

    model: str
    key: str
    value: bytes


@dataclass(frozen=True)
class SinkBatch:
    """Messages, and what marks them as sent.

    `finish` is called in a transaction once all of them were acknowledged; it returns how many rows were lost, as they
    were damaged or dropped. Messages are made while they are read, once.
    """

    messages: Iterable[SinkMessage]
    finish: Callable[[], int]


@dataclass(frozen=True)
class Backlog:
    """How many rows wait, since when the oldest one does, and how many were dropped that no batch has counted yet."""

    rows: int = 0
    since: datetime | None = None
    lost: int = 0


@dataclass(frozen=True)
class StreamReader:
    """The functions of one stream; `begin` and `end` are called in the transaction that turns it on or off."""

    next_batch: Callable[[SinkStream], SinkBatch | None]
    backlog: Callable[[SinkStream], Backlog]
    begin: Callable[[SinkStream], None]
    end: Callable[[Project], None]


def message_of(
    project: Project, model: str, key: str, value: dict[str, Any], *, copy_of: str = ""
) -> SinkMessage:
    """Write a message; its key begins with the project and the model, as several projects may share a topic.

    `copy_of` is the version of a shadow, which answers under the id of the row that was copied to it.
    """
    where = f"{project.slug}/{model}" if model else project.slug
    if copy_of:
        where += f"@{copy_of}"
    return SinkMessage(
        model, f"{where}/{key}", write_json({"project": project.slug, "model": model or None} | value)
    )


def nothing_to_begin(stream: SinkStream) -> None:
    """Do nothing: what is to be sent is marked from the commit on that turns a stream on."""
