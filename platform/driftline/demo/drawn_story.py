"""A story of dealt days: it brings a model from its first quiet day to the present, and then sends what comes.

What a story does to its rows and labels, and when, are the methods that it overrides. A stopped story continues with
the part of a day that was not finished.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import msgspec

from driftline.common.periods import rfc3339
from driftline.demo.api_client import Api
from driftline.demo.draws import DAY, DailyDraws, DealtRow, midnight
from driftline.demo.plan import ModelPlan, PlantedFault, load_plan, save_plan
from driftline.demo.progress import StoryProgress, load_story, save_story
from driftline.demo.setup import DemoModel
from driftline.demo.traffic import LIVE_TICK_S, Traffic

PART = timedelta(hours=6)
"""A day is sent in such parts, so that labels of the night are there when its window becomes ripe."""


@dataclass(frozen=True)
class StorySetting:
    """Where a story plays; it sets `is_shown` once it has come to its point, so that the next may take the machine."""

    home: Path
    api: Api
    traffic: Traffic
    is_shown: Event


class DrawnStory:
    """One model's callers and those who label its rows; `plan` has one fault."""

    model: DemoModel

    def __init__(self, setting: StorySetting, *, plan: ModelPlan, draws: DailyDraws) -> None:
        self.home, self.api, self.traffic = setting.home, setting.api, setting.traffic
        self.is_shown, self.draws = setting.is_shown, draws
        self.plan = load_plan(self.home, plan.model) or save_plan(self.home, plan)

    # -- what a story overrides ----------------------------------------------------------------------------------------
    def set_up(self) -> None:
        """Bring the model to where its first row can be sent."""

    def before_part(self, start: datetime) -> None:
        """Do what happens at a moment of event time, before the rows from it on are sent."""

    def prepared(self, values: Sequence[object], at: datetime) -> Sequence[object]:
        """Return a row as its caller sends it."""
        return values

    def label_of(self, row: DealtRow, values: Sequence[object]) -> str:
        """Return what is said to have come of a row, from its values in `label_columns`."""
        return str(values[0])

    label_columns: Sequence[str] = ("label",)

    def doing(self, until: datetime) -> str:
        """Say in a few words what is under way."""
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

    def run(self) -> None:
        """Bring the model to the present, and then send what comes, until the process is stopped."""
        until = self.play_until(midnight(datetime.now(UTC)))
        self.is_shown.set()
        while True:
            time.sleep(LIVE_TICK_S)
            until = self._send_part(until, datetime.now(UTC))

    def play_until(self, end: datetime) -> datetime:
        """Send what happened up to a moment, from where the story was stopped on; return up to when all is sent."""
        progress = load_story(self.home, self.model.name)
        if progress is None:
            self.set_up()
            progress = self._note(self.plan.quiet_from)
        until = progress.until
        while until < end:
            until = self._send_part(until, min(until + PART, end))
            self.pace(until)
        return until

    def _send_part(self, start: datetime, end: datetime) -> datetime:
        """Send a part of a day, and wait until a day that has ended, or what a fault follows, is computed."""
        self.before_part(start)
        rows = self.draws.between(start, end)
        values = self.draws.values(rows, self.model.inputs.names)
        self.traffic.ask(
            [
                self.model.inputs.request(self.prepared(one, row.at), key=row.id, timestamp=rfc3339(row.at))
                for row, one in zip(rows, values, strict=True)
            ]
        )
        self._send_labels(start, end)
        if self.fault.shown_at is None and end >= self._noticeable_from:
            self.change_fault(shown_at=datetime.now(UTC))
        if rows and (end == midnight(end) or end == self.fault.onset):
            self.traffic.wait_until_computed(rows[-1].at)
        self._note(end)
        return end

    @property
    def _noticeable_from(self) -> datetime:
        """The end of the first day that holds the fault; one of labels waits for the last of them."""
        end = midnight(self.fault.onset) + DAY
        return end if self.fault.column else end + self.draws.label_lag

    def _send_labels(self, start: datetime, end: datetime) -> None:
        rows = [row for row in self.draws.labelled_between(start, end) if row.at >= self.plan.quiet_from]
        values = self.draws.values(rows, self.label_columns)
        lag = self.draws.label_lag
        self.traffic.label(
            [
                {"id": row.id, "label": self.label_of(row, one), "timestamp": rfc3339(row.at + lag)}
                for row, one in zip(rows, values, strict=True)
            ]
        )

    def _note(self, until: datetime) -> StoryProgress:
        return save_story(
            self.home,
            StoryProgress(
                model=self.model.name, until=until, doing=self.doing(until), rows_a_day=self.draws.rows_a_day
            ),
        )
