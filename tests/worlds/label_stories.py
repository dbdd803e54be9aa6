"""Stories of labels: predictions and labels come at random, and a plain model says what should be held."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from driftline.base.accounts.models import Project
from inference.prediction_log.ingest import arrival
from inference.prediction_log.ingest.store import store_records
from inference.prediction_log.items import LabelItem
from inference.prediction_log.labels.services import log_labels
from inference.prediction_log.models import PredictionChunk, TouchedPeriod
from inference.prediction_log.queries.selectors import frame_of, prediction
from inference.prediction_log.spool.record import FeatureColumn, LoggedBatch
from inference.prediction_log.tasks import expire
from inference.registry.models import Model, Version
from inference.registry.services import update_model
from inference.registry.versions import external_version
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, make_model

KEPT_DAYS = 6
STEPS = 45
WEEK, SECOND = timedelta(weeks=1), timedelta(seconds=1)


@dataclass
class Revision:
    """One thing that was told under an id; `whose` is the prediction it joined."""

    number: int
    value: str
    told: datetime
    is_current: bool = True
    whose: str = ""


@dataclass
class Prediction:
    time: datetime
    client: str | None
    has_narrow_row: bool = True
    is_copied: bool = False
    folded: list[tuple[str, Revision]] = field(default_factory=list)


@dataclass
class PlainModel:
    """What the log should hold, in a few dictionaries."""

    predictions: dict[str, Prediction] = field(default_factory=dict)
    labels: dict[str, list[Revision]] = field(default_factory=dict)
    dirty: set[tuple[str, datetime]] = field(default_factory=set)

    def log(self, batch: list[tuple[str, str | None, datetime]], role: str) -> None:
        fresh = [row for row in batch if role == "shadow" or row[0] not in self.predictions]
        for id_, client, time in fresh:
            self.dirty.add((role, hour(time)))
            if role == "shadow":
                self.predictions[id_].is_copied = True
            else:
                self.predictions[id_] = Prediction(time, client)
        if role != "shadow":
            self._join({id_: id_ for id_, _, _ in fresh}, {c: id_ for id_, c, _ in reversed(fresh) if c})

    def _join(self, ids: dict[str, str], clients: dict[str, str]) -> None:
        for given, revisions in self.labels.items():
            for revision in revisions:
                if not revision.whose:
                    revision.whose = ids.get(given) or clients.get(given) or ""

    def label(self, given: str, value: str, now: datetime) -> str:
        held = self._held_by(given)
        if len(held) > 1:
            return "ambiguous_id"
        whose = held[0] if held else ""
        before = next((one for one in self._told(given, whose) if one.is_current), None)
        if before and before.value == value:
            return "duplicate"
        if before:
            before.is_current = False
        number = before.number + 1 if before else 1
        self.labels.setdefault(given, []).append(Revision(number, value, now, whose=whose))
        for id_ in {whose, before.whose if before else ""} - {""}:
            self._touch(self.predictions[id_])
        return "pending_prediction" if not whose else "superseded" if before else "accepted"

    def _held_by(self, given: str) -> list[str]:
        if given in self.predictions:
            return [given]
        holders = [id_ for id_, one in self.predictions.items() if one.client == given]
        return [id_ for id_ in holders if self.predictions[id_].has_narrow_row] or holders

    def _told(self, given: str, whose: str) -> list[Revision]:
        folded = self.predictions[whose].folded if whose else []
        return self.labels.get(given, []) or [one for id_, one in folded if id_ == given]

    def _touch(self, one: Prediction) -> None:
        roles = ["champion", "shadow"] if one.is_copied else ["champion"]
        self.dirty |= {(role, hour(one.time)) for role in roles}

    def close_window(self) -> None:
        """Let narrow rows go, and with them old days; fold what is left."""
        newest = max((one.time for one in self.predictions.values()), default=DAY)
        first_kept = newest.date() - timedelta(days=KEPT_DAYS)
        gone = {id_ for id_, one in self.predictions.items() if one.time.date() < first_kept}
        self.predictions = {id_: one for id_, one in self.predictions.items() if id_ not in gone}
        for one in self.predictions.values():
            one.has_narrow_row = False
        for given, revisions in list(self.labels.items()):
            for revision in revisions:
                if revision.whose in self.predictions:
                    self.predictions[revision.whose].folded.append((given, revision))
            self.labels[given] = [one for one in revisions if not one.whose]

    def history(self, id_: str) -> list[tuple[str, int, bool]]:
        told = [one for _, one in self.predictions[id_].folded]
        told += [one for revisions in self.labels.values() for one in revisions if one.whose == id_]
        return [
            (one.value, one.number, one.is_current)
            for one in sorted(told, key=lambda one: (one.told, one.number))
        ]

    def holding(self, id_: str) -> str | None:
        current = [value for value, _, is_current in self.history(id_) if is_current]
        return current[-1] if current else None


def hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


@dataclass
class Story:
    """Does at random to the log what it does to the plain model."""

    model: Model
    version: Version
    dice: random.Random
    monkeypatch: pytest.MonkeyPatch
    plain: PlainModel = field(default_factory=PlainModel)
    week: datetime = DAY + timedelta(days=2)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    ids: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))
    batches: int = 0
    folded: int = 0

    def step(self) -> None:
        [act] = self.dice.choices(
            [self.predict, self.repeat, self.copy, self.tell, self.tell_by_client, self.pack, self.close],
            [8, 2, 3, 12, 4, 2, 2],
        )
        act()
        touched = set(TouchedPeriod.objects.values_list("role", "hour"))
        assert touched == self.plain.dirty, act.__name__
        TouchedPeriod.objects.all().delete()
        self.plain.dirty = set()

    def predict(self) -> None:
        self._log([self._new() for _ in range(self.dice.randint(1, 5))], "champion")

    def _new(self) -> tuple[str, str | None, datetime]:
        number = next(self.ids)
        time = self.week - timedelta(seconds=self.dice.randrange(3 * 86_400))
        client = f"c{self.dice.randint(max(0, number - 3), number)}" if self.dice.random() < 0.5 else None
        return f"p{number}", client, time

    def repeat(self) -> None:
        """Send again what has a narrow row, beside something new."""
        known = [id_ for id_, one in self.plain.predictions.items() if one.has_narrow_row]
        again = [self._row(id_) for id_ in self.dice.sample(known, min(2, len(known)))]
        self._log([*again, self._new()], "champion")

    def copy(self) -> None:
        known = [id_ for id_, one in self.plain.predictions.items() if not one.is_copied]
        if known:
            self._log([self._row(self.dice.choice(known))], "shadow")

    def _row(self, id_: str) -> tuple[str, str | None, datetime]:
        one = self.plain.predictions[id_]
        return id_, one.client, one.time

    def tell(self) -> None:
        newest = next(reversed(self.plain.predictions), "p0")
        first = max(0, int(newest[1:]) - 25)
        self._tell([f"p{self.dice.randint(first, int(newest[1:]) + 3)}" for _ in range(4)])

    def tell_by_client(self) -> None:
        newest = next(reversed(self.plain.predictions), "p0")
        self._tell([f"c{self.dice.randint(max(0, int(newest[1:]) - 20), int(newest[1:]) + 1)}"])

    def _tell(self, ids: list[str]) -> None:
        self.now += SECOND
        told = [LabelItem(id_, self.dice.choice("01"), None) for id_ in ids]
        expected = [self.plain.label(one.id, one.label, self.now) for one in told]

        result = log_labels(model=self.model, items=told, source="test", now=self.now)

        assert [one.status for one in result.results] == expected

    def pack(self) -> None:
        grow_old()
        pack_all()
        connection.check_constraints()

    def close(self) -> None:
        """Let a week pass, and then do what is done hourly."""
        self.pack()
        self.week += WEEK
        self.monkeypatch.setattr(arrival, "_clock", f"timestamptz '{self.week.isoformat()}'")
        expire()
        self.plain.close_window()
        self.folded += PredictionChunk.objects.filter(labels__isnull=False).count()

    def _log(self, rows: list[tuple[str, str | None, datetime]], role: str) -> None:
        self.batches += 1
        batch = LoggedBatch(
            model_id=self.model.pk,
            version_id=self.version.pk,
            role=role,  # type: ignore[arg-type]
            generation=1,
            ids=[id_ for id_, _, _ in rows],
            client_ids=[client for _, client, _ in rows],
            keyed=True,
            event_time_us=[round(time.timestamp() * 1e6) for _, _, time in rows],
            received_us=0,
            latency_us=[1000] * len(rows),
            features=[FeatureColumn("x", "f4", bytes(4 * len(rows)))],
            prediction=["1"] * len(rows),
            probabilities=None,
            subjects=None,
            tags=None,
        )
        store_records([batch], spool="test", segment=1, offset=self.batches)
        self.plain.log(rows, role)

    def check(self) -> None:
        for id_ in self.plain.predictions:
            found = prediction(model=self.model, prediction_id=id_)
            assert found is not None, id_
            told = [(one["value"], one["revision"], one["is_current"]) for one in found["labels"]]
            assert told == self.plain.history(id_), id_
        for role, ids in (
            ("champion", set(self.plain.predictions)),
            ("shadow", {id_ for id_, one in self.plain.predictions.items() if one.is_copied}),
        ):
            frame = frame_of(model=self.model, start=DAY - 10 * WEEK, end=self.week + WEEK, role=role)
            assert dict(zip(frame.ids, frame.label, strict=True)) == {
                id_: self.plain.holding(id_) for id_ in ids
            }


def begin_story[S: Story](kind: type[S], seed: int, monkeypatch: pytest.MonkeyPatch) -> S:
    """Begin a story of a new model in an arrival week of its own."""
    monkeypatch.setattr(arrival, "_closed", set())
    model = make_model(Project.objects.create(slug="p", name="P"))
    update_model(model=model, actor="test", retention_days=KEPT_DAYS)
    story = kind(model, external_version(model=model, version="1"), random.Random(seed), monkeypatch)
    monkeypatch.setattr(arrival, "_clock", f"timestamptz '{story.week.isoformat()}'")
    return story
