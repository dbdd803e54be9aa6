"""A batch of messages is stored with its positions in one transaction, and what cannot be stored is kept apart."""

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection

from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.periods import rfc3339
from driftline.base.work.advisory_locks import AdvisoryLock
from inference.prediction_log.events import joining
from inference.prediction_log.events.models import EventHalf
from inference.prediction_log.ingest import arrival
from inference.prediction_log.labels import targets
from inference.prediction_log.models import Label, PredictionRow
from inference.prediction_log.queries.selectors import prediction as logged
from inference.prediction_log.sources import dead_letters, retrying
from inference.prediction_log.sources.dead_letters import DeadLettersFull, message_of
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import DeadLetter, Source, SourcePosition
from inference.prediction_log.sources.reading import storing
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.prediction_log.sources.reading.positions import Fenced, begin_partition
from inference.prediction_log.sources.reading.storing import Stored, store_batch
from inference.prediction_log.sources.retrying import discard, retry
from inference.prediction_log.sources.selectors import statuses_of
from inference.prediction_log.sources.services import update_source
from inference.registry.models import Model, RowsKept
from tests.inference.prediction_log.labels.closed_weeks import let_narrow_rows_go
from tests.inference.prediction_log.sources.conftest import MakeSource
from tests.inference.prediction_log.sources.streams import MemoryStream, prediction
from tests.worlds.approvals import DAY, log, rows_of_a_day


def store(source: Source, *messages: StreamMessage) -> Stored:
    for partition in {message.partition for message in messages}:
        begin_partition(source.pk, partition, 0)
    return store_batch(source, messages, now=now())


def ids(model: Model) -> list[str]:
    return sorted(PredictionRow.objects.filter(model=model).values_list("prediction_id", flat=True))


def next_offset(source: Source, partition: str = "t/0") -> int:
    return SourcePosition.objects.get(source=source, partition=partition).next_offset


def reasons(source: Source) -> list[tuple[int, str, str]]:
    letters = DeadLetter.objects.filter(source=source).order_by("partition", "offset")
    return list(letters.values_list("offset", "code", "pointer"))


class TestRows:
    def test_rows_and_positions_are_stored_together(
        self, model: Model, make_source: MakeSource, stream: MemoryStream
    ) -> None:
        source = make_source()

        stored = store(
            source,
            stream.send(prediction("a")),
            stream.send(prediction("b")),
            stream.send(prediction("c"), "t/1"),
        )

        assert stored == Stored(rows=3)
        assert ids(model) == ["a", "b", "c"]
        assert (next_offset(source), next_offset(source, "t/1")) == (2, 1)
        assert list(source.positions.order_by("partition").values_list("messages", "rows")) == [
            (2, 2),
            (1, 1),
        ]

    @pytest.mark.parametrize("time_us", [-1, 253_402_300_799_999_999, 2**63 - 1])
    def test_a_message_of_a_time_that_no_clock_shows_leaves_the_source_to_be_looked_at(
        self, make_source: MakeSource, stream: MemoryStream, time_us: int
    ) -> None:
        source = make_source()

        store(source, stream.send(prediction("a"), time_us=time_us))

        assert statuses_of([source])[source.pk].last_message_at is None

    def test_nothing_is_stored_where_the_transaction_fails_at_its_last_step(
        self, model: Model, make_source: MakeSource, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = make_source()

        def killed(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(storing, "move_positions", killed)
        with pytest.raises(KeyboardInterrupt):
            store(source, stream.send(prediction("a")), stream.send(b"poison"))

        assert ids(model) == []
        assert (next_offset(source), reasons(source)) == (0, [])

    def test_a_consumer_that_lost_its_partition_is_fenced(
        self, model: Model, make_source: MakeSource, stream: MemoryStream
    ) -> None:
        source = make_source()
        first, second, third = (stream.send(prediction(id_)) for id_ in "abc")
        store(source, first, second)

        with pytest.raises(Fenced):
            store(source, second, third)

        assert ids(model) == ["a", "b"]
        assert next_offset(source) == 2

    def test_gaps_of_a_compacted_topic_and_tombstones_are_passed(
        self, model: Model, make_source: MakeSource, stream: MemoryStream
    ) -> None:
        source = make_source()

        stored = store(
            source,
            stream.send(prediction("a"), offset=7),
            stream.send(None, offset=12),
            stream.send(prediction("b"), offset=40),
        )

        assert stored == Stored(rows=2)
        assert next_offset(source) == 41

    def test_a_row_that_is_in_the_log_already_is_a_duplicate(
        self, model: Model, make_source: MakeSource, stream: MemoryStream
    ) -> None:
        source, row = make_source(), prediction("a")
        store(source, stream.send(row))

        stored = store(source, stream.send(row), stream.send(prediction("b")))

        assert stored == Stored(rows=1, duplicates=1)

    def test_items_of_the_logging_api_are_taken_as_they_are(
        self, model: Model, make_source: MakeSource, stream: MemoryStream
    ) -> None:
        source = make_source(envelope="log")
        pretty = b'{\n "id": "b",\n "timestamp": "%s", "version": "2",\n' % rfc3339(now()).encode()
        pretty += b' "features": {"x": 1}, "prediction": 0}\n'

        stored = store(
            source, stream.send(prediction("a", latency_ms=4.5)), stream.send(pretty), stream.send(b" \n")
        )

        assert stored == Stored(rows=2, dead_letters=1)
        found = logged(model=model, prediction_id="b")
        assert found is not None
        assert (found["version"], found["features"]["x"]) == ("2", 1.0)

    def test_a_schema_that_changes_in_mid_stream_keeps_both_shapes(
        self, model: Model, make_source: MakeSource, stream: MemoryStream
    ) -> None:
        source = make_source()
        changed = prediction("b", features={"income": "high", "age": 30})

        stored = store(source, stream.send(prediction("a")), stream.send(changed))

        found = logged(model=model, prediction_id="b")
        assert stored == Stored(rows=2)
        assert found is not None
        assert found["features"]["income"] == "high"

    def test_labels_are_stored_before_and_after_their_predictions(
        self, model: Model, make_source: MakeSource, stream: MemoryStream
    ) -> None:
        predictions, labels = make_source(), make_source("outcomes", "labels")
        store(predictions, stream.send(prediction("a")))

        stored = store(
            labels,
            stream.send({"prediction_id": "a", "outcome": True, "ts": SENT}, "l/0"),
            stream.send({"prediction_id": "later", "outcome": 0}, "l/0"),
        )

        assert stored == Stored(rows=2)
        assert dict(Label.objects.values_list("given_id", "value")) == {"a": "1", "later": "0"}
        assert set(Label.objects.values_list("source", flat=True)) == {"outcomes"}

    def test_packed_weeks_are_searched_for_labels_before_the_lock_is_taken(
        self, model: Model, make_source: MakeSource, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(arrival, "_closed", set())
        monkeypatch.setattr(arrival, "_clock", "timestamptz '2026-01-07 12:00Z'")
        sent = rows_of_a_day(DAY, 40)
        log(model, sent)
        let_narrow_rows_go()
        labels = make_source("outcomes", "labels")
        find, locks = targets.find_packed, list[int]()

        def look(*given: Any) -> Any:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() "
                    "AND mode = 'ExclusiveLock' AND classid = %s AND objid = %s",
                    [AdvisoryLock.LABEL_JOIN.value, model.pk],
                )
                locks.append(cursor.fetchone()[0])
            return find(*given)

        monkeypatch.setattr(targets, "find_packed", look)
        stored = store(labels, *(stream.send({"id": row.id, "label": 1}) for row in sent[:3]))

        assert stored == Stored(rows=3)
        assert locks == [0]

    def test_a_model_that_keeps_no_rows_stops_the_labels_without_losing_any(
        self, model: Model, make_source: MakeSource, stream: MemoryStream
    ) -> None:
        labels = make_source("outcomes", "labels")
        Model.objects.filter(pk=model.pk).update(rows_kept=RowsKept.NONE)

        with pytest.raises(Problem, match="keeps none"):
            store(labels, stream.send({"id": "a", "label": 1}))

        assert next_offset(labels) == 0


SENT = int(now().timestamp()) - 60

POISON: Sequence[tuple[bytes, str, str]] = [
    (b"\xff\xfe", "malformed_json", ""),
    (b"{", "malformed_json", ""),
    (b"", "malformed_json", ""),
    (b"[1]", "wrong_type", ""),
    (b"[" * 100_000, "too_deep", ""),
    (b'{"id": "a"}', "missing_field", "/timestamp"),
    (
        b'{"id": "a", "prediction": 1, "timestamp": "yesterday", "version": "1"}',
        "invalid_timestamp",
        "/timestamp",
    ),
    (b'{"id": "a\\u0000", "prediction": 1, "timestamp": %d, "version": "1"}' % SENT, "invalid_text", "/id"),
    (b'{"id": "a", "prediction": 1, "timestamp": 1e300, "version": "1"}', "invalid_timestamp", "/timestamp"),
    (
        b'{"id": "a", "prediction": 1, "timestamp": 5, "version": "1"}',
        "timestamp_out_of_window",
        "/timestamp",
    ),
    (b'{"id": "a", "prediction": 1%s, "timestamp": %d, "version": "1"}' % (b"0" * 400, SENT), "", ""),
]


class TestPoison:
    @pytest.mark.parametrize(("raw", "code", "pointer"), POISON, ids=range(len(POISON)))
    def test_it_becomes_a_dead_letter_and_the_rest_flows(
        self,
        model: Model,
        make_source: MakeSource,
        stream: MemoryStream,
        raw: bytes,
        code: str,
        pointer: str,
    ) -> None:
        source = make_source()

        stored = store(source, stream.send(prediction("x")), stream.send(raw), stream.send(prediction("y")))

        assert stored == Stored(rows=2, dead_letters=1)
        assert ids(model) == ["x", "y"]
        assert next_offset(source) == 3
        [(offset, found, where)] = reasons(source)
        assert offset == 1
        if code:
            assert (found, where) == (code, pointer)
        assert message_of(DeadLetter.objects.get()).value == raw

    def test_what_no_reader_foresaw_is_found_alone(
        self, model: Model, make_source: MakeSource, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, parse = make_source(), storing._parse

        def fragile(source: Source, body: bytes, moment: Any) -> Any:
            if b"cursed" in body:
                raise ZeroDivisionError
            return parse(source, body, moment)

        monkeypatch.setattr(storing, "_parse", fragile)
        rows = [stream.send(prediction(id_)) for id_ in ("a", "b", "cursed", "c", "d")]

        assert store(source, *rows) == Stored(rows=4, dead_letters=1)
        assert ids(model) == ["a", "b", "c", "d"]
        assert reasons(source) == [(2, "could_not_be_stored", "")]

    @pytest.mark.parametrize("time_us", [1_800_000_000_000_000_000_000, -(10**30), 10**18])
    def test_a_time_that_cannot_be_stored_stops_nothing(
        self, model: Model, make_source: MakeSource, stream: MemoryStream, time_us: int
    ) -> None:
        """As of a sender that writes nanoseconds where milliseconds belong."""
        source = make_source()

        store(source, stream.send(prediction("a")), stream.send(prediction("odd"), time_us=time_us))

        assert next_offset(source) == 2
        assert ids(model) == ["a", "odd"]
        assert source.positions.get().last_message_at is None

    def test_an_id_with_another_body_is_a_dead_letter(
        self, model: Model, make_source: MakeSource, stream: MemoryStream
    ) -> None:
        source = make_source()
        store(source, stream.send(prediction("a")))

        assert store(source, stream.send(prediction("a", prediction=0))) == Stored(dead_letters=1)
        assert reasons(source) == [(1, "conflict", "/id")]

    def test_a_source_with_too_many_stops_and_loses_nothing(
        self, make_source: MakeSource, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = make_source()
        monkeypatch.setattr(dead_letters, "MAX_LETTERS", 2)
        store(source, stream.send(b"{"), stream.send(b"{"))

        with pytest.raises(DeadLettersFull):
            store(source, stream.send(b"{"))

        assert (next_offset(source), len(reasons(source))) == (2, 2)

    def test_a_message_that_is_too_long_is_kept_cut(
        self, make_source: MakeSource, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = make_source()
        monkeypatch.setattr(dead_letters, "MAX_KEPT_BYTES", 10)
        store(source, stream.send(b"x" * 30))

        letter = DeadLetter.objects.get()
        assert (letter.size_bytes, letter.is_cut, message_of(letter).value) == (30, True, b"x" * 10)
        assert retry(source=source, letters=DeadLetter.objects.all(), actor="ada", now=now()).refused == 1

    def test_key_and_headers_count_and_are_cut_too(
        self, make_source: MakeSource, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = make_source()
        monkeypatch.setattr(dead_letters, "MAX_KEPT_BYTES", 10)
        store(source, stream.send(b"x" * 4, key=b"k" * 8, headers={"name": "v" * 20}))

        letter = DeadLetter.objects.get()
        kept = message_of(letter)
        assert (letter.size_bytes, letter.is_cut) == (4 + 8 + 24, True)
        assert (kept.value, kept.key, kept.headers) == (b"x" * 4, b"k" * 6, {})

    def test_its_bytes_are_not_kept_in_clear(self, make_source: MakeSource, stream: MemoryStream) -> None:
        store(make_source(), stream.send(b'{"name": "Ada Lovelace"'))

        assert b"Lovelace" not in bytes(DeadLetter.objects.get().payload)


def bury_predictions(source: Source, stream: MemoryStream, *ids: str) -> None:
    """Make dead letters of predictions that could be stored."""
    sent = [stream.send(prediction(id_)) for id_ in ids]
    dead_letters.bury(source.pk, [dead_letters.RefusedMessage(one, "conflict", "As a test.") for one in sent])


class TestRetry:
    def test_the_mapping_of_now_stores_what_the_one_before_refused(
        self, model: Model, make_source: MakeSource, stream: MemoryStream
    ) -> None:
        source = make_source()
        other = {"key": "a", "answer": 1, "when": SENT * 1000, "income": 3}
        store(source, stream.send(other), stream.send(b"{"))
        source = update_source(
            source=source,
            actor="ada",
            mapping=SourceMapping(id="key", prediction="answer", timestamp="when", default_version="7"),
        )

        retried = retry(source=source, letters=DeadLetter.objects.all(), actor="ada", now=now())

        assert (retried.stored, retried.refused) == (1, 1)
        assert ids(model) == ["a"]
        letter = DeadLetter.objects.get()
        assert (letter.offset, letter.attempts) == (1, 2)
        position = SourcePosition.objects.get()
        assert (position.messages, position.rows) == (2, 1)

    def test_a_letter_that_no_reader_foresaw_does_not_hold_the_others_back(
        self, model: Model, make_source: MakeSource, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, parse = make_source(), storing._parse
        bury_predictions(source, stream, "a", "cursed", "b")

        def fragile(source: Source, body: bytes, moment: Any) -> Any:
            if b"cursed" in body:
                raise ZeroDivisionError
            return parse(source, body, moment)

        monkeypatch.setattr(storing, "_parse", fragile)
        retried = retry(source=source, letters=DeadLetter.objects.all(), actor="ada", now=now())

        assert (retried.stored, retried.refused) == (2, 1)
        assert ids(model) == ["a", "b"]
        assert reasons(source) == [(1, "could_not_be_stored", "")]
        assert DeadLetter.objects.get().attempts == 2

    def test_few_bytes_are_retried_at_once(
        self, model: Model, make_source: MakeSource, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, together, sizes = make_source(), retrying.store_letters, list[int]()
        bury_predictions(source, stream, "a", "b", "c")

        def note(one: Source, messages: Sequence[StreamMessage], **others: Any) -> Any:
            sizes.append(len(messages))
            return together(one, messages, **others)

        monkeypatch.setattr(retrying, "store_letters", note)
        monkeypatch.setattr(retrying, "RETRIED_BYTES", 2 * DeadLetter.objects.all()[0].size_bytes)
        retry(source=source, letters=DeadLetter.objects.all(), actor="ada", now=now())

        assert sizes == [2, 1]
        assert ids(model) == ["a", "b", "c"]

    def test_a_discarded_letter_is_deleted(self, make_source: MakeSource, stream: MemoryStream) -> None:
        source = make_source()
        store(source, stream.send(b"{"), stream.send(b"["))

        assert discard(source=source, letters=DeadLetter.objects.filter(offset=0), actor="ada") == 1
        assert [offset for offset, _, _ in reasons(source)] == [1]


def v2_request(id_: str, income: float) -> dict[str, Any]:
    tensor = {"name": "income", "shape": [1, 1], "datatype": "FP64", "data": [income]}
    return {"id": id_, "inputs": [tensor]}


def v2_response(id_: str, answer: Any) -> dict[str, Any]:
    tensor = {"name": "prediction", "shape": [1], "datatype": "INT64", "data": [answer]}
    return {"id": id_, "model_name": "m", "model_version": "3", "outputs": [tensor]}


class TestHalves:
    def test_requests_and_responses_of_two_batches_are_joined(
        self, model: Model, make_source: MakeSource, stream: MemoryStream
    ) -> None:
        source = make_source(envelope="v2")
        store(source, stream.send(v2_request("a", 1.5), "in/0"), stream.send(v2_response("b", 0), "out/0"))
        assert ids(model) == []

        stored = store(
            source, stream.send(v2_response("a", 1), "out/0"), stream.send(v2_request("b", 2.5), "in/0")
        )

        found = logged(model=model, prediction_id="a")
        assert stored == Stored(rows=2)
        assert found is not None
        assert (found["version"], found["features"]["income"]) == ("3", 1.5)
        assert not EventHalf.objects.exists()

    def test_large_halves_that_wait_are_loaded_a_few_at_a_time(
        self, model: Model, make_source: MakeSource, stream: MemoryStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, names = make_source(envelope="v2"), ("a", "b", "c")
        store(source, *(stream.send(v2_request(name, 1.5), "in/0") for name in names))
        monkeypatch.setattr(joining, "MAX_POOL_BYTES", 10)
        pools, begin = list[int](), joining.HalfPool.__init__

        def note(pool: joining.HalfPool, model: Model, event_ids: Any) -> None:
            begin(pool, model, event_ids)
            pools.append(len(event_ids))

        monkeypatch.setattr(joining.HalfPool, "__init__", note)
        stored = store(source, *(stream.send(v2_response(name, 1), "out/0") for name in names))

        assert stored == Stored(rows=3)
        assert ids(model) == ["a", "b", "c"]
        assert pools == [1, 1, 1]

    def test_cloud_events_are_read_in_both_modes(
        self, model: Model, make_source: MakeSource, stream: MemoryStream
    ) -> None:
        source = make_source(envelope="kserve")
        kind = "org.kubeflow.serving.inference."
        headers = {"ce_id": "e", "ce_type": f"{kind}request", "ce_specversion": "1.0"}
        structured = {
            "specversion": "1.0",
            "id": "e",
            "type": f"{kind}response",
            "data": {"predictions": [1]},
        }

        stored = store(
            source,
            stream.send({"instances": [{"income": 2}]}, headers=headers),
            stream.send(structured, headers={"content-type": "application/cloudevents+json; charset=UTF-8"}),
        )

        assert stored == Stored(rows=1)
        assert ids(model) == ["e"]

    def test_a_half_that_does_not_fit_is_a_dead_letter_and_the_other_one_waits_on(
        self, model: Model, make_source: MakeSource, stream: MemoryStream
    ) -> None:
        source = make_source(envelope="v2")

        stored = store(
            source, stream.send(v2_request("a", 1.5), "in/0"), stream.send(v2_response("a", None), "out/0")
        )

        assert stored == Stored(dead_letters=1)
        assert reasons(source) == [(0, "missing_prediction", "/response")]
        assert EventHalf.objects.count() == 1

        assert store(source, stream.send(v2_response("a", 1), "out/0")) == Stored(rows=1)

    def test_a_retried_half_without_the_other_one_stays_a_dead_letter(
        self, make_source: MakeSource, stream: MemoryStream
    ) -> None:
        source = make_source(envelope="v2")
        store(source, stream.send({"outputs": []}, "out/0", key=None))
        DeadLetter.objects.update(
            payload=dead_letters.encrypt(
                '{"partition": "out/0", "offset": 0, "value": "eyJpZCI6ImEiLCJvdXRwdXRzIjpbXX0="}'
            )
        )

        retried = retry(source=source, letters=DeadLetter.objects.all(), actor="ada", now=now())

        assert (retried.stored, retried.refused) == (0, 1)
        assert reasons(source) == [(0, "other_half_missing", "")]
        assert not EventHalf.objects.exists()
