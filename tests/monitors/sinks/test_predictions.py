"""Predictions reach their topic, each with all that `GET /predictions` says of it, whatever becomes of their chunks."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.db import connection
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.http.responses import write_json
from inference.prediction_log.erasure import services
from inference.prediction_log.erasure.places import spool
from inference.prediction_log.erasure.services import request_erasure
from inference.prediction_log.ingest import arrival
from inference.prediction_log.items import LabelItem
from inference.prediction_log.models import PredictionChunk, UnsentChunk
from inference.prediction_log.queries.exploring import explore
from inference.prediction_log.queries.filters import filter_of
from inference.prediction_log.tasks import expire
from inference.registry.models import Model, RowsKept
from inference.registry.services import update_model
from monitors.sinks.models import Sink
from monitors.sinks.services import set_sink, stop_sink
from monitors.sinks.settings import SinkSettings
from monitors.sinks.streams.predictions import next_batch
from monitors.sinks.streams.readers import statuses_of
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.monitors.sinks.conftest import Read, send_all, sent
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

ROWS = rows_of_a_day(DAY, 20)


def ids(read: Read) -> list[str]:
    return sorted(message.value["id"] for message in read("predictions"))


def test_a_row_is_sent_as_the_api_lists_it(model: Model, sink: Sink, read: Read) -> None:
    log(model, ROWS)

    send_all(sink)

    listed = explore(wanted=filter_of(model, {}, now=now())).items
    expected = {
        one["id"]: {"project": "p", "model": "approvals"}
        | {name: value for name, value in one.items() if not name.startswith("label")}
        for one in orjson.loads(write_json(listed))
    }
    messages = read("predictions")
    assert {message.value["id"]: message.value for message in messages} == expected
    assert len(messages) == len(ROWS)
    assert {message.key for message in messages} == {f"p/approvals/{row.id}" for row in ROWS}
    assert messages[0].headers == {"kind": "predictions", "model": "approvals"}
    assert sent(sink)["predictions"] == 20


def test_nothing_is_sent_that_was_stored_before_the_sink(
    model: Model, project: Project, kafka: SinkSettings, read: Read
) -> None:
    log(model, ROWS[:10])
    sink = set_sink(project=project, settings=kafka, actor="ada")
    log(model, ROWS[10:])
    grow_old()
    pack_all()

    send_all(sink)

    assert ids(read) == sorted(row.id for row in ROWS[10:])


def test_rows_that_were_packed_before_they_were_sent_are_sent_once(
    model: Model, sink: Sink, read: Read
) -> None:
    log(model, ROWS[:10])
    grow_old()
    pack_all()
    log(model, ROWS[10:])
    grow_old()
    pack_all()  # into the chunk of before
    assert not PredictionChunk.objects.filter(is_packed=False).exists()

    send_all(sink)
    send_all(sink)

    assert ids(read) == sorted(row.id for row in ROWS)
    assert not UnsentChunk.objects.exists()


def test_rows_that_were_sent_are_not_sent_again_when_they_are_packed(
    model: Model, sink: Sink, read: Read
) -> None:
    log(model, ROWS[:10])
    send_all(sink)
    log(model, ROWS[10:])
    grow_old()
    pack_all()

    send_all(sink)

    assert ids(read) == sorted(row.id for row in ROWS)


def test_a_full_chunk_waits_for_its_sink_rather_than_being_packed_under_it(
    model: Model, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.prediction_log.storage.compaction.CHUNK_ROWS", 10)
    log(model, ROWS)
    pack_all()
    assert PredictionChunk.objects.get().is_packed is False

    send_all(sink)
    pack_all()

    assert PredictionChunk.objects.get().is_packed is True


def test_many_chunks_are_packed_though_their_sink_has_yet_to_send_them(
    model: Model, sink: Sink, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.prediction_log.storage.compaction.CHUNK_ROWS", 4)
    monkeypatch.setattr("inference.prediction_log.storage.compaction.MANY_CHUNKS", 5)
    for start in range(0, 20, 2):
        log(model, ROWS[start : start + 2])
    pack_all()
    assert PredictionChunk.objects.filter(is_packed=False).count() == 4
    assert statuses_of(sink, now=now())[0].waiting == 20

    send_all(sink)

    assert ids(read) == sorted(row.id for row in ROWS)


def test_without_a_sink_a_full_chunk_is_packed_at_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.prediction_log.storage.compaction.CHUNK_ROWS", 10)
    log(model, ROWS)

    pack_all()

    assert PredictionChunk.objects.get().is_packed is True
    assert not UnsentChunk.objects.exists()


def test_a_sender_that_dies_before_it_marks_what_was_acknowledged_sends_it_again_under_the_same_keys(
    model: Model, sink: Sink, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(model, ROWS)

    def die(*_: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("monitors.sinks.streams.predictions._finish", die)
        with pytest.raises(KeyboardInterrupt):
            send_all(sink)
    send_all(sink)

    keys = [message.key for message in read("predictions")]
    assert len(keys) == 40
    assert set(keys) == {f"p/approvals/{row.id}" for row in ROWS}


def test_a_shadow_s_copy_has_a_key_of_its_own(model: Model, sink: Sink, read: Read) -> None:
    log(model, [ROWS[0], replace(ROWS[0], role="shadow", version="2")])

    send_all(sink)

    found = {message.key: message.value["role"] for message in read("predictions")}
    assert found == {f"p/approvals/{ROWS[0].id}": "champion", f"p/approvals@2/{ROWS[0].id}": "shadow"}


def test_rows_of_another_project_are_not_sent(model: Model, sink: Sink, read: Read) -> None:
    other = make_model(Project.objects.create(slug="other", name="Other"))
    log(other, ROWS)
    log(model, ROWS[:1])

    send_all(sink)

    assert [message.value["project"] for message in read("predictions")] == ["p"]


# -- what must not be sent -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("is_packed", [False, True])
def test_a_row_that_was_erased_is_not_sent_later(
    is_packed: bool, project: Project, model: Model, sink: Sink, read: Read, settings: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings.HOME = tmp_path
    monkeypatch.setattr(spool, "SETTLED_AFTER", timedelta(0))
    monkeypatch.setattr(services, "LOOK_AGAIN_AFTER", timedelta(0))
    log(model, [replace(row, subject="zoe" if place == 3 else "bob") for place, row in enumerate(ROWS)])
    label(model, [LabelItem(row.id, "1", None) for row in ROWS[2:5]])
    work(model)
    if is_packed:
        grow_old()
        pack_all()
    erasure = request_erasure(project=project, key="zoe", actor="ada")
    services.resume_erasure(erasure.pk)
    assert [one.waiting for one in statuses_of(sink, now=now())[:2]] == [19, 2]

    send_all(sink)

    assert ids(read) == sorted(row.id for place, row in enumerate(ROWS) if place != 3)
    assert {one.value["id"] for one in read("labels")} == {ROWS[2].id, ROWS[4].id}
    assert sink.streams.get(kind="labels").lost == 0


def test_features_are_sent_as_the_policies_of_now_have_them(model: Model, sink: Sink, read: Read) -> None:
    rows = [replace(row, features=row.features | {"email": "a@example.com", "age": 40.0}) for row in ROWS[:2]]
    log(model, rows)  # before anybody thought of it
    update_model(model=model, actor="ada", privacy={"email": "hash", "age": "summary", "region": "drop"})
    log(model, [replace(row, features=row.features | {"email": "a@example.com"}) for row in ROWS[2:3]])

    send_all(sink)

    features = [message.value["features"] for message in read("predictions")]
    assert [set(one) for one in features] == [{"income", "email"}] * 3
    assert len({one["email"] for one in features}) == 1
    assert all(one["email"].startswith("hmac:") for one in features)


def test_rows_of_a_model_that_keeps_none_are_not_sent(model: Model, sink: Sink, read: Read) -> None:
    update_model(model=model, actor="ada", rows_kept=RowsKept.NONE)
    log(model, ROWS)

    send_all(sink)

    assert read("predictions") == []


# -- what cannot be sent any more ----------------------------------------------------------------------------------
def test_rows_that_retention_drops_before_they_are_sent_are_counted(
    model: Model, sink: Sink, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "_closed", set())
    monkeypatch.setattr(arrival, "_clock", "timestamptz '2026-01-07 12:00Z'")
    last = rows_of_a_day(DAY + timedelta(days=40), 3)
    for rows in (ROWS, last):
        log(model, rows)
        work(model)
    update_model(model=model, actor="test", retention_days=7)
    grow_old()
    pack_all()
    connection.check_constraints()  # as a commit does
    expire()
    [before, *_] = statuses_of(sink, now=now())
    assert (before.lost, before.waiting) == (20, 3)

    send_all(sink)

    assert ids(read) == sorted(row.id for row in last)
    assert sink.streams.get(kind="predictions").lost == 20
    assert statuses_of(sink, now=now())[0].lost == 20


def test_a_damaged_chunk_is_counted_and_the_others_are_sent(model: Model, sink: Sink, read: Read) -> None:
    log(model, ROWS[:10])
    PredictionChunk.objects.update(payload=b"broken")
    log(model, ROWS[10:])

    send_all(sink)

    assert ids(read) == sorted(row.id for row in ROWS[10:])
    assert sink.streams.get(kind="predictions").lost == 10


def test_a_chunk_that_was_damaged_before_it_is_packed_is_counted_too(
    model: Model, sink: Sink, read: Read
) -> None:
    log(model, ROWS[:10])
    PredictionChunk.objects.update(payload=b"broken")
    log(model, ROWS[10:])
    grow_old()
    pack_all()
    assert statuses_of(sink, now=now())[0].waiting == 20

    send_all(sink)

    assert ids(read) == sorted(row.id for row in ROWS[10:])
    assert sink.streams.get(kind="predictions").lost == 10


def test_a_batch_has_a_bounded_number_of_rows(
    model: Model, sink: Sink, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitors.sinks.streams.predictions.MAX_ROWS", 10)
    for start in range(0, 20, 4):
        log(model, ROWS[start : start + 4])

    batch = next_batch(sink.streams.get(kind="predictions"))
    assert batch is not None
    assert len([*batch.messages]) == 8
    send_all(sink)

    assert ids(read) == sorted(row.id for row in ROWS)


def test_a_sink_that_was_stopped_leaves_nothing_for_the_next_one(
    project: Project, model: Model, sink: Sink, kafka: SinkSettings, read: Read
) -> None:
    log(model, ROWS[:10])
    grow_old()
    pack_all()
    stop_sink(sink=sink, confirm="p", actor="ada")
    second = set_sink(project=project, settings=kafka, actor="ada")
    log(model, ROWS[10:])
    grow_old()
    pack_all()

    send_all(second)

    assert ids(read) == sorted(row.id for row in ROWS[10:])
