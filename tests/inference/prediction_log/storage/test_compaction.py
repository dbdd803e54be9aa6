"""Small chunks become large ones: nothing is lost, doubled or changed, whoever is killed or reads meanwhile."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from django.db import connection, transaction
from django.db.models import Sum

from driftline.base.accounts.models import Project
from driftline.operations.invariants import check_all
from inference.prediction_log.models import PackedDay, PredictionChunk, UnpackedDay
from inference.prediction_log.queries.frames import LogFrame
from inference.prediction_log.queries.selectors import frame_of, newest_arrival, oldest_event, prediction
from inference.prediction_log.storage import compaction, partitions
from inference.prediction_log.storage.compaction import find_unpacked, pack_next
from inference.registry.models import Model
from monitors.metrics.store.models import MetricPoint
from tests.inference.prediction_log.storage.aging import grow_old, pack_all, touch_day
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.fixture
def model() -> Model:
    return make_model(Project.objects.create(slug="p", name="P"))


def log_small_batches(model: Model, *, rows: int = 60, batch: int = 6) -> None:
    """Log a day's rows in the order of a shuffle, a few at a time."""
    sent = rows_of_a_day(DAY, rows)
    mixed = [sent[place] for place in np.random.default_rng(3).permutation(rows)]
    for start in range(0, rows, batch):
        log(model, mixed[start : start + batch])
    label(model, truths(sent)[: rows // 2])


def day_of(model: Model) -> LogFrame:
    return frame_of(model=model, start=DAY, end=DAY + timedelta(days=1))


def as_lists(frame: LogFrame) -> dict[str, Any]:
    return {
        **{name: values.tolist() for name, values in frame.features.items()},
        "ids": frame.ids.tolist(),
        "times": frame.times_us.tolist(),
        "predictions": frame.prediction.tolist(),
        "probability": None if frame.probability is None else frame.probability.tolist(),
        "labels": frame.label.tolist(),
        "latency": frame.latency_us.tolist(),
    }


def assert_invariants_hold() -> None:
    assert not [result for result in check_all() if not result.holds]


class TestPacking:
    def test_a_days_small_chunks_become_one_with_the_same_rows(self, model: Model) -> None:
        log_small_batches(model)
        before = as_lists(day_of(model))
        grow_old()

        pack_all()

        assert [(chunk.rows, chunk.is_packed) for chunk in PredictionChunk.objects.all()] == [(60, True)]
        assert as_lists(day_of(model)) == before
        assert not UnpackedDay.objects.exists()
        assert_invariants_hold()

    def test_no_metric_changes(self, model: Model) -> None:
        log_small_batches(model, rows=300, batch=30)
        work(model)
        # Hours end while this test goes on.
        points = MetricPoint.objects.exclude(metric__in=("freshness", "silence"))
        points = points.order_by("metric", "feature", "span", "start", "version", "segment")
        told = ("metric", "feature", "span", "start", "version", "segment", "value", "n", "lower", "upper")
        before = list(points.values_list(*told))
        grow_old()

        pack_all()
        touch_day(model)
        work(model)

        assert list(points.values_list(*told)) == before

    def test_when_the_newest_event_arrived_does_not_change(self, model: Model) -> None:
        late = datetime.now(UTC) - timedelta(hours=3)
        rows = rows_of_a_day(DAY, 6)
        log(model, rows[3:])
        PredictionChunk.objects.update(created_at=late, end_stored_at=late)
        log(model, rows[:3])  # older events that came afterwards
        before = newest_arrival(model), oldest_event(model)

        pack_all()

        assert PredictionChunk.objects.get().is_packed
        assert (newest_arrival(model), oldest_event(model)) == before

    def test_a_prediction_is_still_looked_up(self, model: Model) -> None:
        log_small_batches(model)
        wanted = rows_of_a_day(DAY, 60)[7]
        grow_old()

        pack_all()

        found = prediction(model=model, prediction_id=wanted.id)
        assert found is not None
        assert found["features"] == wanted.features

    def test_young_and_few_rows_stay_fresh(self, model: Model) -> None:
        log_small_batches(model)

        pack_all()

        assert not PredictionChunk.objects.filter(is_packed=True).exists()

    def test_enough_young_rows_are_packed_and_the_rest_waits(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(compaction, "CHUNK_ROWS", 24)
        log_small_batches(model)

        pack_all()

        sizes = PredictionChunk.objects.order_by("pk").values_list("rows", "is_packed")
        assert list(sizes) == [(6, False), (6, False), (24, True), (24, True)]

    def test_rows_with_much_text_become_chunks_of_a_bounded_size(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(compaction, "CHUNK_BYTES", 200_000)
        rng = np.random.default_rng(5)
        for number in range(12):
            rows = rows_of_a_day(DAY, 3, seed=number)
            text = [{"text": rng.bytes(20_000).hex()} for _ in rows]
            log(
                model,
                [
                    msgspec.structs.replace(row, id=f"{number}-{row.id}", features=given)
                    for row, given in zip(rows, text, strict=True)
                ],
            )
            if number % 4 == 3:
                grow_old()
                pack_all()

        sizes = [len(chunk.payload) for chunk in PredictionChunk.objects.all()]
        assert len(day_of(model)) == 36
        assert 3 < len(sizes) < 12
        assert max(sizes) < 2 * 200_000
        assert_invariants_hold()

    def test_small_packed_chunks_are_merged_with_what_comes_later(self, model: Model) -> None:
        for part in range(3):
            log(model, rows_of_a_day(DAY, 9, seed=part)[part * 3 : part * 3 + 3])
            grow_old()
            pack_all()

        assert [chunk.rows for chunk in PredictionChunk.objects.all()] == [9]
        assert PackedDay.objects.get().rows == 9
        assert_invariants_hold()

    def test_rows_of_different_columns_stay_apart(self, model: Model) -> None:
        rows = rows_of_a_day(DAY, 4)
        for row in rows[2:]:
            del row.features["income"]
        log(model, rows[:2])
        log(model, rows[2:])
        grow_old()

        pack_all()

        assert sorted(chunk.rows for chunk in PredictionChunk.objects.all()) == [2, 2]
        first = frame_of(model=model, start=DAY, end=DAY + timedelta(hours=1))
        last = frame_of(model=model, start=DAY + timedelta(hours=18), end=DAY + timedelta(days=1))
        assert ("income" in first.features, "income" in last.features) == (True, False)

    def test_packed_rows_lie_in_the_partition_of_their_day(self, model: Model) -> None:
        log_small_batches(model)
        grow_old()

        pack_all()

        with connection.cursor() as cursor:
            cursor.execute("SELECT tableoid::regclass::text FROM inference_predictionchunk")
            assert cursor.fetchall() == [("inference_predictionchunk_d20260105",)]


@pytest.mark.django_db(transaction=True)
class TestInterruptions:
    def test_a_packer_that_is_killed_before_it_commits_changes_nothing(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log_small_batches(model)
        before = as_lists(day_of(model))
        grow_old()

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(compaction, "add_to_day", killed)
            with pytest.raises(KeyboardInterrupt):
                pack_all()
        assert as_lists(day_of(model)) == before
        assert not pack_next(), "the dead packer's lease still runs"

        UnpackedDay.objects.update(lease_until=datetime.now(UTC) - timedelta(seconds=1))
        pack_all()

        assert as_lists(day_of(model)) == before
        assert PredictionChunk.objects.get().is_packed
        assert_invariants_hold()

    def test_a_packer_that_stalls_beyond_its_lease_loses_and_doubles_nothing(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log_small_batches(model)
        before = as_lists(day_of(model))
        grow_old()
        find_unpacked()
        stalled, go_on = threading.Event(), threading.Event()
        add_to_day = compaction.add_to_day

        def stall(*given: Any, **named: Any) -> None:
            if threading.current_thread() is not threading.main_thread():
                stalled.set()
                assert go_on.wait(30)
            add_to_day(*given, **named)

        monkeypatch.setattr(compaction, "add_to_day", stall)
        thread = threading.Thread(target=_pack_and_close)
        thread.start()
        assert stalled.wait(30)
        log(model, rows_of_a_day(DAY + timedelta(days=1), 4))  # nobody waits for a packer
        assert as_lists(day_of(model)) == before, "a reader sees the parts until the whole is committed"
        UnpackedDay.objects.update(lease_until=datetime.now(UTC) - timedelta(seconds=1))
        pack_all()
        go_on.set()
        thread.join()

        assert as_lists(day_of(model)) == before
        assert PackedDay.objects.aggregate(rows=Sum("rows"))["rows"] == 60
        assert_invariants_hold()

    def test_two_packers_share_one_day(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compaction, "CHUNK_ROWS", 12)
        log_small_batches(model, rows=120, batch=3)
        before = as_lists(day_of(model))
        find_unpacked()
        with transaction.atomic():
            [unpacked] = UnpackedDay.objects.claim(limit=1)
        compaction.partitions.DAYS.make([unpacked.day])

        threads = [threading.Thread(target=_pack_day_and_close, args=[unpacked]) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert as_lists(day_of(model)) == before
        assert_invariants_hold()


@pytest.mark.django_db(transaction=True)
def test_several_processes_make_the_partition_of_a_day_once() -> None:
    day = datetime(2031, 5, 4, tzinfo=UTC).date()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(_make_day_and_close, [day] * 4))

    assert partitions.DAYS.starts().count(day) == 1
    partitions.DAYS.drop(day)


def _make_day_and_close(day: date) -> None:
    try:
        partitions.DAYS.make([day])
    finally:
        connection.close()


def _pack_and_close() -> None:
    try:
        pack_next()
    finally:
        connection.close()


def _pack_day_and_close(unpacked: UnpackedDay) -> None:
    try:
        while compaction._pack_some(unpacked):
            pass
    finally:
        connection.close()
