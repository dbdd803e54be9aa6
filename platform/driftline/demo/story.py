"""A story: it brings a model from its first day to the present, and then sends what comes.

What a story does to its rows and labels, and when, are the methods that it overrides. A stopped story continues with
the part of a day that was not finished.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

from driftline.base.periods import rfc3339
from driftline.demo.api_client import Api
from driftline.demo.daily_rows import DailyRows, DemoRow, midnight
from driftline.demo.plan import ModelPlan, PlantedFault, load_plan, save_plan
from driftline.demo.progress import StoryProgress, load_story, save_story
from driftline.demo.setup import DemoModel
from driftline.demo.traffic import LIVE_TICK_S, Traffic

PART = timedelta(hours=6)
"""A day is sent in such parts, so that labels of the night are there when its window becomes ripe."""


@dataclass(frozen=True)
class StorySetting:
    """Where a story plays: after `may_play`; it sets `is_shown` once it has come to its point."""

    home: Path
    api: Api
    traffic: Traffic
    may_play: Event
    is_shown: Event


class DemoStory:
    """One model's callers and those who label its rows."""

    model: DemoModel
    sets_up_early = True
    """Whether the model is made while another story plays."""

    def __init__(self, setting: StorySetting, *, project: str, began: datetime) -> None:
        self.home, self.api, self.traffic = setting.home, setting.api, setting.traffic
        self.may_play, self.is_shown = setting.may_play, setting.is_shown
        plan = load_plan(self.home, self.model.name)
        self.plan = plan or save_plan(self.home, self.make_plan(project, began))
        self.rows = self.make_rows()
        self._singly_from: datetime | None = None

    # -- what a story overrides ----------------------------------------------------------------------------------------
    def make_plan(self, project: str, began: datetime) -> ModelPlan:
        """Return what will be planted, and when."""
        raise NotImplementedError

    def make_rows(self) -> DailyRows:
        """Return the rows of each day of the plan."""
        raise NotImplementedError

    def set_up(self) -> None:
        """Bring the model to where its first row can be sent."""

    def before_part(self, start: datetime) -> None:
        """Do what happens at a moment of event time, before the rows from it on are sent."""

    def after_part(self, end: datetime) -> None:
        """Note what was sent up to a moment, before it is computed."""

    def waits_at(self, end: datetime) -> bool:
        """Return whether what was sent has to be computed before more is sent; it need not where nothing follows."""
        return False

    def prepared(self, values: Sequence[object], at: datetime) -> Sequence[object]:
        """Return a row as its caller sends it."""
        return values

    def label_of(self, row: DemoRow, values: Sequence[object]) -> str:
        """Return what is said to have come of a row, from its values in `label_columns`."""
        return str(values[0])

    label_columns: Sequence[str] = ("label",)

    def doing(self, until: datetime) -> str:
        """Describe in a few words what is under way."""
        return ""

    def pace(self, until: datetime) -> None:
        """Wait before the next part, if somebody should have time to act."""

    # -- what all do ---------------------------------------------------------------------------------------------------
    @property
    def fault(self) -> PlantedFault:
        return self.plan.faults[0]

    def change_fault(self, **changes: object) -> None:
        self.change_plan(faults=[msgspec.structs.replace(self.fault, **changes)])

    def change_plan(self, **changes: object) -> None:
        self.plan = save_plan(self.home, msgspec.structs.replace(self.plan, **changes))

    def newest_run(self) -> dict[str, Any] | None:
        return next(iter(self.api.get(f"{self.model.path}/runs?limit=1")["items"]), None)

    def run(self) -> None:
        """Bring the model to the present, and then send what comes, until the process is stopped."""
        until = self.play_until(midnight(datetime.now(UTC)))
        self.is_shown.set()
        self.ask_singly_from(until)
        while True:
            start, until = until, datetime.now(UTC)
            self._send_part(start, until)
            self._note(until)
            time.sleep(LIVE_TICK_S)

    def play_until(self, end: datetime) -> datetime:
        """Send what happened up to a moment, from where the story was stopped on; return up to when all is sent."""
        progress = load_story(self.home, self.model.name)
        if progress is None:
            if not self.sets_up_early:
                self.may_play.wait()
            self.set_up()
            progress = self._note(self.plan.quiet_from)
        self.may_play.wait()
        until, self._singly_from = progress.until, progress.singly_from
        while until < end:
            start, until = until, min(until + PART, end)
            newest = self._send_part(start, until)
            if newest and self.waits_at(until):
                self.traffic.wait_until_computed(newest)
            self._note(until)
            self.pace(until)
        return until

    def ask_singly_from(self, moment: datetime) -> None:
        """Ask about each row by itself from a moment on, and no longer about those of an hour at once."""
        self._singly_from = self._singly_from or moment

    def _send_part(self, start: datetime, end: datetime) -> datetime | None:
        """Send the rows and labels of `[start, end)`; return the time of the newest row."""
        self.before_part(start)
        rows = self.rows.between(start, end)
        self.traffic.ask(list(self._requests(rows)))
        self._send_labels(start, end)
        self.after_part(end)
        return rows[-1].at if rows else None

    def _is_alone(self, row: DemoRow) -> bool:
        return self._singly_from is not None and row.at >= self._singly_from

    def _requests(self, rows: Sequence[DemoRow]) -> Iterator[bytes]:
        """Write a request about the rows of each hour, or about each row."""
        values = self.rows.values(rows, self.model.inputs.names)
        pairs = zip(rows, values, strict=True)
        for key, asked in groupby(pairs, lambda one: one[0].alone if self._is_alone(one[0]) else one[0].hour):
            together = list(asked)
            yield self.model.inputs.request(
                [self.prepared(one, row.at) for row, one in together],
                key=key,
                timestamps=[rfc3339(row.at) for row, _ in together],
            )

    def _send_labels(self, start: datetime, end: datetime) -> None:
        rows = [row for row in self.rows.labelled_between(start, end) if row.at >= self.plan.quiet_from]
        values = self.rows.values(rows, self.label_columns)
        self.traffic.label(
            [
                {
                    "id": row.alone if self._is_alone(row) else row.in_hour,
                    "label": self.label_of(row, one),
                    "timestamp": rfc3339(row.known_at or row.at),
                }
                for row, one in zip(rows, values, strict=True)
            ]
        )

    def _note(self, until: datetime) -> StoryProgress:
        return save_story(
            self.home,
            StoryProgress(
                model=self.model.name,
                until=until,
                doing=self.doing(until),
                singly_from=self._singly_from,
            ),
        )
