"""A damaged chunk of the log is an error of its rows: the model's other rows are listed, exported and measured."""

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from driftline.operations.invariants import check_all
from driftline.operations.services.diagnosis import diagnose
from driftline.operations.services.paths import home_paths
from inference.prediction_log.ingest import arrival
from inference.prediction_log.models import Label, PredictionChunk, TouchedPeriod, UnpackedDay
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.metrics.store.models import MetricPoint
from monitors.summaries.models import Summary
from tests.driftline.api.conftest import Api, caller
from tests.inference.prediction_log.labels.closed_weeks import let_narrow_rows_go
from tests.inference.prediction_log.storage.aging import grow_old, pack_all, touch_day
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, send, truths, work

pytestmark = pytest.mark.django_db

NEXT_DAY = DAY + timedelta(days=1)
ROWS = 40
DAMAGES = {
    "nothing": lambda payload: b"",
    "garbage": lambda payload: b"\x00garbage" * 20,
    "the first half": lambda payload: payload[: len(payload) // 2],
    "a hole": lambda payload: payload[:-600] + bytes(400) + payload[-200:],
    "a length too large": lambda payload: payload[:4] + b"\xff\xff\xff\x7f" + payload[8:],
}


@pytest.fixture(autouse=True)
def _everything_arrived_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "_closed", set())
    monkeypatch.setattr(arrival, "_clock", "timestamptz '2026-01-07 12:00Z'")


@pytest.fixture
def api() -> Api:
    return caller("ours")


@pytest.fixture
def model(api: Api, settings: Any, tmp_path: Path) -> Model:
    settings.HOME = tmp_path
    return make_model(api.project)


@pytest.fixture
def rows(model: Model) -> dict[Any, list[SentPrediction]]:
    """Rows of two days, a chunk each, with labels."""
    sent = {day: rows_of_a_day(day, ROWS) for day in (DAY, NEXT_DAY)}
    for day in sent:
        log(model, sent[day])
        label(model, truths(sent[day]))
    return sent


def damage(day: Any, how: str = "garbage") -> PredictionChunk:
    chunk = PredictionChunk.objects.get(day=day.date())
    damaged = DAMAGES[how](bytes(chunk.payload))
    PredictionChunk.objects.filter(pk=chunk.pk, day=chunk.day).update(payload=damaged)
    return chunk


def lists(api: Api, query: str = "") -> Any:
    return api.send("GET", f"/models/approvals/predictions?limit=1000{query}")


def exports(api: Api) -> Any:
    return api.send("GET", "/models/approvals/export")


class TestReading:
    @pytest.mark.parametrize("how", DAMAGES)
    def test_a_list_holds_the_other_rows_and_says_which_it_lacks(
        self, how: str, api: Api, model: Model, rows: dict[Any, list[SentPrediction]]
    ) -> None:
        """The list of a model with one corrupted chunk was answered with 500."""
        chunk = damage(DAY, how)

        found = lists(api)

        assert found.status_code == 200
        assert {item["id"] for item in found.json()["items"]} == {row.id for row in rows[NEXT_DAY]}
        [lost] = found.json()["unreadable"]
        assert (lost["version"], lost["role"], lost["rows"]) == ("1", "champion", ROWS)
        assert lost["from"] == rows[DAY][0].timestamp
        assert chunk.end.isoformat().startswith(lost["to"][:19])

    def test_a_list_of_another_time_lacks_nothing(
        self, api: Api, model: Model, rows: dict[Any, list[SentPrediction]]
    ) -> None:
        damage(DAY)

        found = lists(api, "&from=2026-01-06T00:00:00Z").json()

        assert (len(found["items"]), found["unreadable"]) == (ROWS, [])

    @pytest.mark.parametrize("how", DAMAGES)
    def test_an_export_holds_the_other_rows_and_says_which_it_lacks(
        self, how: str, api: Api, model: Model, rows: dict[Any, list[SentPrediction]]
    ) -> None:
        """The export of a model with one corrupted chunk was answered with 500."""
        damage(DAY, how)

        answer = exports(api)

        file = pq.ParquetFile(io.BytesIO(answer.getvalue()))
        assert (answer.status_code, answer["Driftline-Unreadable-Rows"]) == (200, str(ROWS))
        assert set(file.read().column("id").to_pylist()) == {row.id for row in rows[NEXT_DAY]}
        [lost] = json.loads(file.metadata.metadata[b"driftline.unreadable"])
        assert (lost["rows"], lost["from"]) == (ROWS, rows[DAY][0].timestamp)

    def test_an_export_of_whole_chunks_lacks_nothing(
        self, api: Api, model: Model, rows: dict[Any, list[SentPrediction]]
    ) -> None:
        answer = exports(api)

        assert answer["Driftline-Unreadable-Rows"] == "0"
        assert pq.read_table(io.BytesIO(answer.getvalue())).num_rows == 2 * ROWS

    def test_one_of_its_rows_is_said_to_be_damaged(
        self, api: Api, model: Model, rows: dict[Any, list[SentPrediction]]
    ) -> None:
        damage(DAY)

        lost = api.send("GET", f"/models/approvals/predictions/{rows[DAY][0].id}")
        other = api.send("GET", f"/models/approvals/predictions/{rows[NEXT_DAY][0].id}")

        assert (lost.status_code, lost.json()["code"], other.status_code) == (503, "log_unreadable", 200)

    def test_damaged_labels_are_an_error_of_their_rows_too(
        self, api: Api, model: Model, rows: dict[Any, list[SentPrediction]]
    ) -> None:
        let_narrow_rows_go()
        PredictionChunk.objects.filter(day=DAY.date()).update(labels=b"garbage")

        found = lists(api).json()

        assert {item["id"] for item in found["items"]} == {row.id for row in rows[NEXT_DAY]}
        assert [lost["rows"] for lost in found["unreadable"]] == [ROWS]


class TestWorkers:
    @pytest.mark.slow
    def test_summarise_and_measure_the_other_windows(
        self, model: Model, rows: dict[Any, list[SentPrediction]]
    ) -> None:
        """The task of the model's summaries failed as a whole, for ever, with every window that waited."""
        damage(DAY)

        work(model)

        assert {period.hour.date() for period in TouchedPeriod.objects.all()} == {DAY.date()}
        assert Summary.objects.get(span="day", start=NEXT_DAY, segment="").rows == ROWS
        assert MetricPoint.objects.filter(span="day", start=NEXT_DAY, metric="accuracy").exists()
        assert not Summary.objects.filter(span="day", start=DAY, segment="", rows__gt=0).exists()

    @pytest.mark.slow
    def test_keep_what_was_summarised_before_the_damage(
        self, model: Model, rows: dict[Any, list[SentPrediction]]
    ) -> None:
        work(model)
        damage(DAY)
        touch_day(model)

        work(model)

        assert Summary.objects.get(span="day", start=DAY, segment="").rows == ROWS

    @pytest.mark.slow
    def test_drop_the_other_rows_of_a_model_that_keeps_none_any_more(
        self, model: Model, rows: dict[Any, list[SentPrediction]]
    ) -> None:
        work(model)
        damage(DAY)
        update_model(model=model, actor="test", rows_kept="none")

        work(model)

        assert {chunk.day for chunk in PredictionChunk.objects.all()} == {DAY.date()}
        assert PredictionChunk.objects.get().damage != ""

    def test_pack_the_rest_of_its_day(self, model: Model) -> None:
        """Packing failed for the whole day again and again, and its small chunks became ever more."""
        sent = rows_of_a_day(DAY, 20)
        for place in range(0, 20, 5):
            log(model, sent[place : place + 5])
        first = PredictionChunk.objects.order_by("pk").first()
        assert first is not None
        PredictionChunk.objects.filter(pk=first.pk).update(payload=b"garbage")
        grow_old()

        pack_all()

        chunks = dict(PredictionChunk.objects.filter(is_packed=True).values_list("rows", "damage"))
        assert chunks.keys() == {5, 15}
        assert chunks[5]
        assert not chunks[15]
        assert not PredictionChunk.objects.filter(is_packed=False).exists()
        assert not UnpackedDay.objects.exists()
        assert _broken() == ["every chunk of the log opens and holds its rows"]

    def test_still_refuse_its_ids_and_take_its_labels(self, model: Model) -> None:
        sent = rows_of_a_day(DAY, 20)
        log(model, sent)
        damage(DAY)
        grow_old()
        pack_all()

        label(model, truths(sent))

        assert send(model, sent).duplicates == 20
        assert Label.objects.filter(prediction_time__isnull=False).count() == 20

    def test_take_labels_once_its_narrow_rows_are_gone(self, model: Model) -> None:
        """A label whose id might lie in a damaged chunk was answered with 500, with all others of its request."""
        sent = rows_of_a_day(DAY, 20)
        log(model, sent)
        damage(DAY)
        let_narrow_rows_go()

        label(model, truths(sent))

        assert Label.objects.filter(prediction_time__isnull=True).count() == 20

    def test_fold_the_labels_of_the_other_chunks(
        self, model: Model, rows: dict[Any, list[SentPrediction]]
    ) -> None:
        """The fold of every model's labels ended at the first chunk that was damaged."""
        damage(DAY)

        let_narrow_rows_go()

        assert Label.objects.filter(prediction_time__lt=NEXT_DAY).count() == ROWS
        assert not Label.objects.filter(prediction_time__gte=NEXT_DAY).exists()


class TestOperator:
    def test_is_shown_its_name_by_the_invariants(
        self, model: Model, rows: dict[Any, list[SentPrediction]]
    ) -> None:
        chunk = damage(DAY)

        [opens] = [found for found in check_all() if found.statement.startswith("every chunk of the log")]

        assert not opens.holds
        assert opens.counts == f"1 of 2 do not: {chunk.pk} (approvals 1, 40 champion rows of 2026-01-05)"

    @pytest.mark.slow
    def test_is_shown_its_name_by_the_doctor_once_a_worker_met_it(
        self, model: Model, rows: dict[Any, list[SentPrediction]], tmp_path: Path
    ) -> None:
        chunk = damage(DAY)
        work(model)

        [finding] = [found for found in diagnose(home_paths(tmp_path)) if found.subject == "log chunks"]

        assert f"{chunk.pk} (approvals 1, 40 champion rows of 2026-01-05)" in finding.text
        assert "backup" in finding.remedy

    @pytest.mark.slow
    def test_puts_it_back_and_reads_it_again(
        self, api: Api, model: Model, rows: dict[Any, list[SentPrediction]]
    ) -> None:
        payload = PredictionChunk.objects.get(day=DAY.date()).payload
        chunk = damage(DAY)
        work(model)

        PredictionChunk.objects.filter(pk=chunk.pk).update(payload=payload, damage="")

        assert (len(lists(api).json()["items"]), lists(api).json()["unreadable"]) == (2 * ROWS, [])


def _broken() -> list[str]:
    return [result.statement for result in check_all() if not result.holds]
