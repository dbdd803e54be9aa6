"""Labels of predictions without narrow rows weigh a few bytes beside them, and are read and corrected there."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from django.core.management import call_command

from driftline.base.accounts.models import Project
from driftline.operations.invariants import check_all
from inference.prediction_log.ingest import arrival
from inference.prediction_log.items import LabelItem
from inference.prediction_log.labels import folding as label_folding
from inference.prediction_log.labels import selectors as label_reads
from inference.prediction_log.labels.folding import fold_labels
from inference.prediction_log.labels.selectors import count_by_day, first_label
from inference.prediction_log.labels.services import log_labels
from inference.prediction_log.models import Label, PredictionChunk, TouchedPeriod
from inference.prediction_log.queries.selectors import frame_of, paired_frame, prediction
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.prediction_log.storage.folded_labels import FoldedLabel, FoldedLabels
from inference.registry.models import Model, Version
from tests.inference.prediction_log.ingest.late_rows import in_thread, label_late
from tests.inference.prediction_log.labels.closed_weeks import let_narrow_rows_go
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, send, truths, work

pytestmark = pytest.mark.django_db

END = DAY + timedelta(days=1)
US = timedelta(microseconds=1)


@pytest.fixture(autouse=True)
def _everything_arrived_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "_closed", set())
    monkeypatch.setattr(arrival, "_clock", "timestamptz '2026-01-07 12:00Z'")


@pytest.fixture
def model() -> Model:
    return make_model(Project.objects.create(slug="p", name="P"))


@pytest.fixture
def rows(model: Model) -> list[SentPrediction]:
    """Log a day of which every second row has a label, and let its narrow rows go."""
    sent = rows_of_a_day(DAY, 40)
    log(model, sent)
    log(model, [msgspec.structs.replace(row, version="2", role="shadow") for row in sent[:10]])
    label(model, truths(sent)[::2])
    let_narrow_rows_go()
    return sent


def expected(rows: list[SentPrediction]) -> dict[str, str | None]:
    told = {item.id: item.label for item in truths(rows)[::2]}
    return {row.id: told.get(row.id) for row in rows}


def history(model: Model, id_: str) -> list[tuple[str, int, bool]]:
    found = prediction(model=model, prediction_id=id_)
    assert found is not None
    return [(told["value"], told["revision"], told["is_current"]) for told in found["labels"]]


class TestFoldedLabels:
    @pytest.mark.slow
    def test_have_no_row_of_their_own_any_more(self, model: Model, rows: list[SentPrediction]) -> None:
        work(model)

        assert not Label.objects.exists()
        assert not [result for result in check_all() if not result.holds]

    def test_are_read_with_their_day(self, model: Model, rows: list[SentPrediction]) -> None:
        frame = frame_of(model=model, start=DAY, end=END)

        assert dict(zip(frame.ids, frame.label, strict=True)) == expected(rows)
        assert (frame.label_time_us[::2] == frame.times_us[::2]).all()
        assert not frame.label_time_us[1::2].any()

    def test_are_read_with_the_copies_of_their_predictions(
        self, model: Model, rows: list[SentPrediction]
    ) -> None:
        challenger = Version.objects.get(model=model, version="2")

        pairs = paired_frame(model=model, challenger_id=challenger.pk, start=DAY, end=END)

        told = expected(rows)
        assert pairs.challenger.label.tolist() == [told[row.id] for row in rows[:10]]
        assert pairs.challenger.label.tolist() == pairs.champion.label.tolist()

    def test_are_exported(self, model: Model, rows: list[SentPrediction], tmp_path: Path) -> None:
        call_command("export_predictions", str(tmp_path / "out"), model=model.name)

        told = {(one["id"], one["role"]): one for one in pq.read_table(tmp_path / "out").to_pylist()}
        labels = expected(rows)
        assert {id_: told[id_, "champion"]["label"] for id_ in labels} == labels
        assert told[rows[4].id, "shadow"]["label"] == labels[rows[4].id]
        assert told[rows[4].id, "champion"]["label_timestamp"] == told[rows[4].id, "champion"]["timestamp"]
        assert told[rows[5].id, "champion"]["label_timestamp"] is None

    def test_are_counted_by_day(self, model: Model, rows: list[SentPrediction]) -> None:
        label_late(model, rows[1].id, "1")
        ones = list(expected(rows).values()).count("1") + 1

        assert count_by_day(model, "value", until=END)[DAY.date()] == {"1": ones, "0": 21 - ones}
        assert count_by_day(model, "source", until=END) == {DAY.date(): {"test": 21}}
        noon = count_by_day(model, "source", until=DAY + timedelta(hours=12))
        assert noon == {DAY.date(): {"test": 11}}
        assert first_label(model) == rows[1].id

    def test_are_corrected_with_versions_kept(self, model: Model, rows: list[SentPrediction]) -> None:
        first = truths(rows)[0].label
        other = "1" if first == "0" else "0"
        TouchedPeriod.objects.all().delete()

        assert label_late(model, rows[0].id, first) == "duplicate"
        assert not TouchedPeriod.objects.exists()
        assert label_late(model, rows[0].id, other) == "superseded"

        corrected = [(first, 1, False), (other, 2, True)]
        touched = TouchedPeriod.objects.values_list("role", "hour").order_by("role")
        assert list(touched) == [("champion", DAY), ("shadow", DAY)]
        assert history(model, rows[0].id) == corrected
        assert frame_of(model=model, start=DAY, end=END).label[0] == other
        assert fold_labels() == 1
        assert history(model, rows[0].id) == corrected
        assert frame_of(model=model, start=DAY, end=END).label[0] == other
        assert fold_labels() == 0

    @pytest.mark.slow
    def test_go_with_their_day(self, model: Model, rows: list[SentPrediction]) -> None:
        late = rows_of_a_day(DAY + timedelta(days=40), 3)
        label_late(model, rows[1].id, "1")
        log(model, late)
        label_late(model, late[0].id, "1")
        model.retention_days = 7
        model.save()

        let_narrow_rows_go()
        assert fold_labels() == 0

        assert PredictionChunk.objects.filter(model=model, labels__isnull=False).count() == 1
        assert not Label.objects.exists()
        assert label_late(model, rows[0].id, "1") == "pending_prediction"


def test_a_label_that_is_folded_while_a_day_is_read_is_not_missed(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = rows_of_a_day(DAY, 6)
    log(model, sent)
    label(model, truths(sent)[::2])
    read = label_reads.labels_in_rows

    def fold_after(*given: object) -> object:
        found = read(*given)  # type: ignore[arg-type]
        let_narrow_rows_go()
        return found

    monkeypatch.setattr(label_reads, "labels_in_rows", fold_after)

    frame = frame_of(model=model, start=DAY, end=END)

    assert dict(zip(frame.ids, frame.label, strict=True)) == expected(sent)


def test_a_label_is_not_missed_that_is_folded_while_its_correction_arrives(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    [row] = rows_of_a_day(DAY, 1)
    log(model, [row])
    label_late(model, row.id, "0")
    monkeypatch.setattr(label_folding, "fold_labels", lambda: 0)
    monkeypatch.setattr("inference.prediction_log.tasks.fold_labels", lambda: 0)
    let_narrow_rows_go()
    from inference.prediction_log.labels import services as labels

    search = labels.search

    def fold_after(*given: object) -> object:
        found = search(*given)  # type: ignore[arg-type]
        assert fold_labels() == 1
        return found

    monkeypatch.setattr(labels, "search", fold_after)

    assert label_late(model, row.id, "1") == "superseded"
    assert history(model, row.id) == [("0", 1, False), ("1", 2, True)]


def test_a_label_stays_in_its_row_while_its_prediction_has_one(model: Model) -> None:
    sent = rows_of_a_day(DAY, 4)
    log(model, sent)
    label(model, truths(sent))
    grow_old()
    pack_all()

    assert fold_labels() == 0
    assert Label.objects.count() == 4


@pytest.mark.slow
def test_they_weigh_a_few_bytes() -> None:
    dice = np.random.default_rng(1)
    told = [
        FoldedLabel(
            place, None, 1, True, str(place % 2), DAY + int(us) * US, DAY + (place // 500) * US, "dl_12345678"
        )
        for place, us in enumerate(np.sort(dice.integers(0, 86_400_000_000, 10_000)))
    ]

    stored = FoldedLabels.read(None).add(told).write()

    assert len(stored) / 10_000 < 12
    assert FoldedLabels.read(stored).at(17) == [told[17]]


def test_numbers_and_client_ids_come_back_as_they_were_told() -> None:
    told = [
        FoldedLabel(place, f"c{place}", 3, False, f"{place / 7}", None, DAY + place * US, f"s{place}")
        for place in range(0, 3_000, 3)
    ]

    read = FoldedLabels.read(FoldedLabels.read(None).add(told[500:]).add(told[:500]).write())

    assert [label for one in told for label in read.at(one.place)] == told
    assert read.at(1) == []
    assert not read.is_current.any()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_writers_of_the_same_labels_in_opposite_orders_do_not_block_each_other(model: Model) -> None:
    sent = rows_of_a_day(DAY, 60)
    ids = [row.id for row in sent] + ["never-sent", "nor-this"]

    def tell(value: str, order: int) -> list[str]:
        items = [LabelItem(id_, value, None) for id_ in ids[::order]]
        return [
            one.status
            for one in log_labels(model=model, items=items, source="test", now=datetime.now(UTC)).results
        ]

    with ThreadPoolExecutor(4) as threads:
        told = [
            threads.submit(in_thread, lambda value=value, order=order: tell(value, order))
            for value in "0101"
            for order in (1, -1)
        ]
        logged = threads.submit(in_thread, lambda: send(model, sent[::-1]))
        statuses = [status for one in told for status in one.result(60)]

    assert logged.result().accepted == 60
    assert set(statuses) <= {"accepted", "superseded", "duplicate", "pending_prediction"}
    assert not Label.objects.filter(prediction_time=None, given_id__in=[row.id for row in sent]).exists()
    assert Label.objects.filter(is_current=True).count() == 62
    written = sum(status != "duplicate" for status in statuses)
    assert Label.objects.count() == written
