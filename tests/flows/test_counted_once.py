"""However rows and labels come, are corrected, packed, folded, erased and expire: the summaries count each once."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from django.core.management import call_command
from hypothesis import HealthCheck, example, given, settings
from msgspec.structs import replace

from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.periods import rfc3339
from inference.prediction_log.encryption.sealed_chunks import LogUnreadable
from inference.prediction_log.erasure import services as erasures
from inference.prediction_log.erasure.places import spool
from inference.prediction_log.models import LabelChange, PredictionChunk
from inference.prediction_log.queries import unsummarised
from inference.prediction_log.queries.selectors import frame_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.definitions.custom_metrics.services import define_metric
from monitors.definitions.segments import set_segments
from monitors.stats.mergeable.outcomes import BinaryOutcomeSummary
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.summaries import label_changes, services
from monitors.summaries.checking import compare_with_rows
from monitors.summaries.models import Summary
from monitors.summaries.rollups import drop_parts
from monitors.summaries.services import rebuild_model, summarise
from tests.flows.canary import places_of
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths, work
from tests.worlds.label_stories import STEPS, Story, begin_story, hour
from tests.worlds.summaries import (
    CANARY,
    broken_invariants,
    keep_values,
    let_workers_die,
    rows_with_notes,
    summaries_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

type Counts = Counter[tuple[str, datetime, str]]
"""Rows by role, hour, and how they were labelled: 0, 1, or empty."""


@dataclass
class CountedStory(Story):
    """A story with passes of the summariser; `expired` counts the rows that have expired."""

    expired: Counts = field(default_factory=Counter)

    def step(self) -> None:
        acts = [
            self.predict, self.repeat, self.copy, self.tell, self.tell_by_client, self.pack, self.close,
            self.summarise, self.ask_anew, self.count_rows_before_labels,
        ]  # fmt: skip
        [act] = self.dice.choices(acts, [8, 2, 4, 12, 4, 2, 1, 6, 1, 4])
        act()

    def summarise(self) -> None:
        while summarise(self.model.pk):
            pass

    def count_rows_before_labels(self) -> None:
        """Do half of a pass, as if the labels came during it."""
        for day in services._days_of(self.model.touched_periods.all()):
            while services._add_rows(self.model.pk, day):
                pass

    def ask_anew(self) -> None:
        rebuild_model(self.model.pk)

    def close(self) -> None:
        """Let a week pass; what expires then was summarised long before."""
        self.summarise()
        before, counted = set(self.plain.predictions), self._counts()
        super().close()
        kept = Counter[tuple[str, datetime, str]]()
        for key, count in self._counts().items():
            kept[key] += count
        if before - self.plain.predictions.keys():
            self.expired += counted - kept

    def _counts(self) -> Counts:
        counts: Counts = Counter()
        for id_, one in self.plain.predictions.items():
            for role in ["champion", "shadow"] if one.is_copied else ["champion"]:
                counts[role, hour(one.time), self.plain.holding(id_) or ""] += 1
        return counts

    def expected(self) -> Counts:
        return self._counts() + self.expired


def counts_of(model: Model) -> Counts:
    counts: Counts = Counter()
    for summary in Summary.objects.filter(model=model, span="hour", segment=""):
        window = WindowSummary.decode(bytes(summary.payload))
        outcome = window.outcome
        right, wrong = (0, 0)
        if isinstance(outcome, BinaryOutcomeSummary):  # every answer is 1
            right, wrong = outcome.tp, outcome.fp
        for value, count in (("1", right), ("0", wrong), ("", window.rows - window.labelled)):
            counts[summary.role, summary.start, value] += count
    return +counts


@pytest.mark.parametrize("seed", range(3))
def test_any_story_is_counted_as_the_plain_model_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    story = begin_story(CountedStory, seed, monkeypatch)
    model = story.model
    for expression in ("share(label == prediction) where x == 0", "ratio(latency_ms, x + 1)", "count()"):
        define_metric(model=model, name=expression, expression=expression, actor="test")

    for _ in range(STEPS):
        story.step()
    story.summarise()

    assert counts_of(model) == story.expected()
    assert [difference for difference in compare_with_rows(1_000) if difference] == []
    assert not LabelChange.objects.exists()
    assert broken_invariants() == []


POLICIES = {
    "keep rows": lambda model: update_model(model=model, actor="test", rows_kept="all"),
    "keep no rows": lambda model: update_model(model=model, actor="test", rows_kept="none"),
    "keep values": lambda model: keep_values(model, "keep"),
    "keep no values": lambda model: keep_values(model, "summary"),
}
ACTS = [*POLICIES, "summarise", "pack", "drop hours"]
IN_TURN = [0, 1, 2, 3, 4, 5] * 4


@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.integers(0, 5), min_size=24, max_size=24),
    acts=st.lists(st.sampled_from(ACTS), min_size=6, max_size=6),
)
@example(
    parts=IN_TURN,
    acts=["keep no rows", "summarise", "drop hours", "pack", "summarise", "keep rows"],
)
@example(
    parts=IN_TURN,
    acts=["pack", "keep no values", "summarise", "pack", "drop hours", "keep values"],
)
def test_rows_and_values_and_hours_that_are_dropped_at_any_moment_change_no_summary(
    project: Project, parts: list[int], acts: list[str]
) -> None:
    """One model keeps all of it, the other what its policies say; each part of the rows comes before an act."""
    models = [make_model(project, f"m{Model.objects.count()}-{name}") for name in ("keeps", "drops")]
    keeps, drops = models
    rows = rows_with_notes(24)
    for model in models:
        set_segments(model=model, features=["region"], actor="test")
        log(model, rows[:1])  # fixes the centres alike
        summarise(model.pk)

    for number, act in enumerate(acts):
        for model in models:
            if part := [row for row, of in zip(rows[1:], parts[1:], strict=True) if of == number]:
                log(model, part)
        if act in POLICIES:
            POLICIES[act](drops)
        elif act == "pack":
            grow_old()
            pack_all()
        else:
            summarise(drops.pk)
        if act == "drop hours":
            drops.stale_windows.all().delete()
            drop_parts(model=drops, span="day", before=DAY + timedelta(days=1))
    for model in models:
        summarise(model.pk)

    found, wanted = summaries_of(drops), summaries_of(keeps)
    assert found == {window: one for window, one in wanted.items() if window in found}
    assert {window for window in wanted if window[0] == "day"} <= found.keys()
    assert found["day", DAY, "champion", ""]["rows"] == 24
    assert broken_invariants() == []


def test_days_are_the_sums_of_their_hours_where_each_row_is_dropped_at_once(model: Model) -> None:
    POLICIES["keep no rows"](model)
    for row in rows_of_a_day(DAY, 6):
        log(model, [row])
        summarise(model.pk)

    summaries = summaries_of(model)
    hours = [one["rows"] for (span, *_), one in summaries.items() if span == "hour"]
    assert hours == [1] * 6
    assert summaries["day", DAY, "champion", ""]["rows"] == 6


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("policy", "rows_left"), [("keep no rows", 0), ("keep no values", 30)])
def test_a_worker_that_is_killed_adds_rows_and_values_once_and_drops_them(
    model: Model, home: Path, policy: str, rows_left: int
) -> None:
    POLICIES[policy](model)
    log(model, rows_with_notes(30))

    let_workers_die(model, "apply_change", "_request_rebuild", "finish")
    work(model)

    day = summaries_of(model)["day", DAY, "champion", ""]
    assert day["rows"] == 30
    assert day["columns"]["salary"][2] == 30
    assert day["columns"]["note"][0] == {CANARY: 30}
    assert len(frame_of(model=model, start=DAY, end=DAY + timedelta(days=1))) == rows_left
    assert places_of(CANARY, home) <= {"monitors_summary.payload"}
    assert broken_invariants() == []


def test_a_long_backlog_is_summarised_in_several_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pass over one model holds a worker for longer than its time, and no attempt is counted for that."""
    monkeypatch.setattr(services, "MAX_PASS_SECONDS", 0.0)
    monkeypatch.setattr(unsummarised, "ROWS_OF_SEVERAL_DAYS", 20)
    model = make_model(Project.objects.create(slug="p", name="P"))
    for day in range(5):
        log(model, rows_of_a_day(DAY + timedelta(days=day), 24))

    passes = 0
    while summarise(model.pk):
        passes += 1
        assert not model.touched_periods.filter(attempts__gt=0).exists()

    assert (
        passes == 6
    )  # one for each day, as each has more rows than several days may have together, and one that finishes their hours
    assert sum(counts_of(model).values()) == 5 * 24


def test_what_is_erased_comes_out_and_nothing_else_changes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are counted with their labels, rows that wait to be, and the copies that shadows made of both."""
    monkeypatch.setattr(spool, "SETTLED_AFTER", timedelta(0))
    model = make_model(Project.objects.create(slug="p", name="P"))
    rows = rows_of_a_day(DAY, 96)
    theirs = [replace(row, subject="zoe-4711") for row in rows[::3]]
    others = [row for place, row in enumerate(rows) if place % 3]
    copies = [replace(row, version="2", role="shadow") for row in rows]
    log(model, others + theirs[:16])
    log(model, copies[:48])
    label(model, truths(others + theirs[:16]))
    work(model)
    log(model, theirs[16:])
    log(model, copies[48:])
    label(model, truths(theirs[16:]))

    receipt = erasures.request_erasure(project=model.project, key="zoe-4711", actor="test")
    erasures.resume_erasure(receipt.pk)
    work(model)

    alone = make_model(model.project, "alone")
    log(alone, others)
    log(alone, [copy for place, copy in enumerate(copies) if place % 3])
    label(alone, truths(others + theirs[:16])[: len(others)])
    work(alone)
    assert counts_of(model) == counts_of(alone)
    assert [difference for difference in compare_with_rows(1_000) if difference] == []
    assert broken_invariants() == []


def test_windows_are_made_anew_on_demand(model: Model) -> None:
    log(model, rows_of_a_day(DAY, 48))
    work(model)
    before = counts_of(model)
    Summary.objects.filter(model=model, span="hour", start=DAY).update(
        payload=Summary.objects.get(
            model=model, span="hour", start=DAY + timedelta(hours=1), segment=""
        ).payload
    )
    assert [difference for difference in compare_with_rows(1_000) if difference] != []
    out = StringIO()

    call_command(
        "rebuild_summaries", model=model.name, project=model.project.slug, start=rfc3339(DAY), stdout=out
    )
    work(model)

    assert "24 windows" in out.getvalue()
    recorded = AuditEntry.objects.get(action="window.rebuild")
    assert (recorded.project, recorded.actor, recorded.subject) == (model.project, "command line", model.name)
    assert recorded.after == {"windows": 24, "from": rfc3339(DAY), "to": None}
    assert counts_of(model) == before
    assert [difference for difference in compare_with_rows(1_000) if difference] == []


class TestWhatIsInTheWay:
    """Of a label that changed."""

    @pytest.fixture
    def rows(self, model: Model) -> list[SentPrediction]:
        rows = rows_of_a_day(DAY, 24)
        for half in (rows[::2], rows[1::2]):  # a chunk each
            log(model, half)
        work(model)
        label(model, truths(rows))
        return rows

    def test_a_chunk_that_is_packed_meanwhile_costs_no_label(
        self, model: Model, rows: list[SentPrediction], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The packer replaces listed chunks between two reads of the summariser."""
        log(model, [replace(row, id=f"new-{row.id}") for row in rows])
        work(model)
        label(model, [replace(one, id=f"new-{one.id}") for one in truths(rows)])
        read, packed = label_changes._read, list[bool]()

        def pack_after_the_first_read(*given: Any) -> Any:
            rows = read(*given)
            if not packed:
                packed.append(True)
                grow_old()
                pack_all()
            return rows

        monkeypatch.setattr(label_changes, "_read", pack_after_the_first_read)

        work(model)

        assert packed
        assert labelled(model) == 2 * len(rows)
        assert not LabelChange.objects.exists()

    def test_a_chunk_without_its_key_keeps_its_labels_waiting_and_stops_no_other_hour(
        self, model: Model, rows: list[SentPrediction], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*given: Any) -> Any:
            raise LogUnreadable("Its key is away.")

        with monkeypatch.context() as key_away:
            key_away.setattr(label_changes, "_read", refuse)
            log(model, [replace(row, id=f"new-{row.id}") for row in rows])
            work(model)
            during = (counts_of(model).total(), labelled(model), LabelChange.objects.count())
        rebuild_model(model.pk)
        work(model)

        assert during == (2 * len(rows), 0, len(rows))
        assert labelled(model) == len(rows)


def labelled(model: Model) -> int:
    hours = Summary.objects.filter(model=model, span="hour", segment="")
    return sum(hours.values_list("labelled", flat=True))


def test_a_damaged_body_ends_no_pass(model: Model) -> None:
    """Its schema can still be read, so that it seems to hold values that are to be let go."""
    log(model, rows_of_a_day(DAY, 24))
    work(model)
    [chunk] = PredictionChunk.objects.filter(model=model)
    half = len(chunk.payload) // 2
    PredictionChunk.objects.filter(pk=chunk.pk).update(
        payload=bytes(chunk.payload[:half]) + bytes(len(chunk.payload) - half)
    )

    update_model(model=model, actor="test", privacy={"income": "summary"})
    work(model)

    assert PredictionChunk.objects.exclude(damage="").count() == 1
    assert counts_of(model)["champion", DAY, ""] == 1
