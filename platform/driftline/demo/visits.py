"""Story (a): a release of the caller loses one column of one segment, and rolling back mends it.

Data: the RAND Health Insurance Experiment (20,190 person-years, public domain).
Will an insured person see a doctor this year? The rows have no days; each day of the demo gets some of those held
out in random order, so that days differ by chance alone until the fault is planted.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from driftline.demo.daily_rows import DAY, DailyDraws, DailyRows, midnight, spread_over_days
from driftline.demo.inference_request import ModelInputs
from driftline.demo.plan import ModelPlan, PlantedFault
from driftline.demo.setup import (
    DemoModel,
    ensure_default_rules,
    ensure_model,
    ensure_reference,
    ensure_version,
    train,
)
from driftline.demo.story import PART, DemoStory, StorySetting
from driftline.demo.tables import read_table

VISIT, NONE = "visit", "none"
LOST_COLUMN, LOST_SEGMENT = "chronic_diseases", ("plan", "free")
MODEL = DemoModel(
    name="doctor-visits",
    description="Will an insured person see a doctor this year? (RAND Health Insurance Experiment, public domain)",
    inputs=ModelInputs(
        strings=["plan", "health"],
        numbers=["deductible", "incentive", "spending_cap", "limited", "chronic_diseases"],
    ),
    classes=[NONE, VISIT],
    positive_class=VISIT,
    parameters={"trees": 60, "leaves": 15, "learning_rate": 0.08},
    settings={"objectives": {"quality": {"metric": "roc_auc", "floor": 0.6}}, "segments": ["plan"]},
)
BEFORE_RELEASE, RELEASE = "1", "2"
"""The versions of the model: each is served to the release of the caller that came with it."""

TRAINING_ROWS, TRAINING_DAYS = 8_000, 20
ROWS_A_DAY = 1_500
LABEL_LAG = timedelta(hours=2)
QUIET_DAYS, DAYS = 14, 33
ONSET = PART
"""The release goes out so long after midnight of the first day that is not quiet."""
SLOW_PART_S, SLOWEST_PART_S, SLOW_DAYS = 2.0, 5.0, 8
"""Once the fault is in, a part of a day takes so long: the first days for a reader, later ones for a late one."""
SEED = 18


class Visits(DemoStory):
    """The callers of the model, who send rows as the release prepares them that the deployment asks for."""

    model = MODEL

    def __init__(self, setting: StorySetting, *, project: str, began: datetime) -> None:
        self._table = read_table("visits")
        self._is_broken = False
        super().__init__(setting, project=project, began=began)

    def make_plan(self, project: str, began: datetime) -> ModelPlan:
        return make_plan(project, began)

    def make_rows(self) -> DailyRows:
        return DailyDraws(
            self._table.iloc[TRAINING_ROWS:],
            first=self.plan.quiet_from,
            rows_a_day=ROWS_A_DAY,
            label_lag=LABEL_LAG,
            seed=SEED,
        )

    def set_up(self) -> None:
        ensure_model(self.api, MODEL)
        rows = self._table.iloc[:TRAINING_ROWS]
        rows = spread_over_days(rows, end=self.plan.quiet_from, days=TRAINING_DAYS)
        trained = train(self.home / "demo" / MODEL.name, MODEL, rows)
        for version in (BEFORE_RELEASE, RELEASE):
            ensure_version(self.api, MODEL, trained, version)
            ensure_reference(self.api, MODEL, trained, version)
        ensure_default_rules(self.api, MODEL, {"Data quality failure": {"recover_windows": 1}})

    def before_part(self, start: datetime) -> None:
        """Release, and follow the deployment: the caller prepares rows as the champion's version asks for."""
        if start < self.fault.onset or self.fault.end is not None:
            return
        champion = self.traffic.champion()
        if start == self.fault.onset and champion == BEFORE_RELEASE:
            self.traffic.promote(RELEASE, "release 2 of the caller, with its own preparation of the columns")
            champion = RELEASE
        self._is_broken = champion == RELEASE
        if not self._is_broken:
            self.change_fault(end=start)

    def after_part(self, end: datetime) -> None:
        if self.fault.shown_at is None and end >= self._noticeable_from:
            self.change_fault(shown_at=datetime.now(UTC))

    @property
    def _noticeable_from(self) -> datetime:
        """The end of the first day that holds the fault."""
        return midnight(self.fault.onset) + DAY

    def waits_at(self, end: datetime) -> bool:
        """Wait until what came before the fault is computed, and until its first day is judged, with the part after."""
        return end in (self.fault.onset, self._noticeable_from, self._noticeable_from + PART)

    def prepared(self, values: Sequence[object], at: datetime) -> Sequence[object]:
        return lose_column(values) if self._is_broken else values

    def doing(self, until: datetime) -> str:
        if until < self.fault.onset:
            return f"quiet days until {self.fault.onset:%-d %B}"
        if self.fault.end is None:
            return "a release of the caller broke a column: read the e-mail, open the incident, roll back"
        return f"rolled back on {self.fault.end:%-d %B}"

    def pace(self, until: datetime) -> None:
        """Leave a reader time to roll back; before the fault is found and after the roll-back nothing waits."""
        if until <= self._noticeable_from:
            return
        self.is_shown.set()
        if self.fault.end is None:
            is_early = until < self.fault.onset + SLOW_DAYS * DAY
            time.sleep(SLOW_PART_S if is_early else SLOWEST_PART_S)


def make_plan(project: str, began: datetime) -> ModelPlan:
    """Plan two quiet weeks, then the release that loses a column of one segment."""
    first = midnight(began) - DAYS * DAY
    feature, value = LOST_SEGMENT
    return ModelPlan(
        number=1,
        project=project,
        model=MODEL.name,
        title="A release of the caller loses a column",
        data="RAND Health Insurance Experiment, 20,190 real rows (public domain); "
        f"each day gets {ROWS_A_DAY:,} of those held out, in random order, so days differ by chance alone.",
        started_at=began,
        quiet_from=first,
        faults=[
            PlantedFault(
                what=f"Release 2 of the caller sends no {LOST_COLUMN} where {feature} is {value}.",
                onset=first + QUIET_DAYS * DAY + ONSET,
                column=LOST_COLUMN,
                segment=f"{feature}:{value}",
            )
        ],
    )


def lose_column(values: Sequence[object]) -> list[object]:
    """Prepare a row as release 2 of the caller does: without one column of one segment."""
    names = MODEL.inputs.names
    feature, value = LOST_SEGMENT
    if values[names.index(feature)] != value:
        return list(values)
    return [None if name == LOST_COLUMN else one for name, one in zip(names, values, strict=True)]
