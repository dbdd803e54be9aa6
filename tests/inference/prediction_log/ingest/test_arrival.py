"""An id is refused across the turn of a week, also where two writers meet; later it is found by its hash."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import msgspec
import pyarrow as pa
import pytest
from django.db import OperationalError, connection, transaction

from driftline.base.accounts.models import Project
from driftline.base.ids import new_id
from driftline.operations.invariants import check_all
from inference.prediction_log.ingest import arrival, store
from inference.prediction_log.labels import targets as label_targets
from inference.prediction_log.models import Label, PredictionChunk, PredictionRow
from inference.prediction_log.queries.selectors import prediction
from inference.prediction_log.retention import expiry
from inference.prediction_log.retention.expiry import find_expired_weeks
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.prediction_log.storage import packed_search, partitions
from inference.prediction_log.tasks import expire
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.metrics.store.models import MetricPoint
from tests.inference.prediction_log.ingest.late_rows import in_thread, label_late
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day, send, work

pytestmark = pytest.mark.django_db

SUNDAY, MONDAY = "2026-01-11 23:59Z", "2026-01-12 00:01Z"
type Clock = Callable[[str], None]


@pytest.fixture
def model() -> Model:
    return make_model(Project.objects.create(slug="p", name="P"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set what the log takes for the database's time."""
    monkeypatch.setattr(arrival, "_closed", set())
    monkeypatch.setattr(arrival, "_clock", arrival._clock)

    def set_to(moment: str) -> None:
        arrival._clock = f"timestamptz '{moment}'"

    return set_to


def statuses(model: Model, rows: list[SentPrediction]) -> list[str]:
    return [item.status for item in send(model, rows).results]


def weeks() -> list[date]:
    return sorted(PredictionRow.objects.values_list("week", flat=True))


class TestTurnOfTheWeek:
    def test_an_id_of_sunday_night_is_refused_on_monday_morning(self, model: Model, clock: Clock) -> None:
        row, fresh = rows_of_a_day(DAY, 2)
        clock(SUNDAY)
        log(model, [row])

        clock(MONDAY)
        changed = msgspec.structs.replace(row, latency_ms=3.0)

        assert statuses(model, [row]) == ["duplicate"]
        assert statuses(model, [fresh, changed]) == ["accepted", "conflict"]
        assert weeks() == [date(2026, 1, 5), date(2026, 1, 12)]

    def test_it_is_refused_as_long_as_its_week_is_there(self, model: Model, clock: Clock) -> None:
        rows = rows_of_a_day(DAY, 3)
        clock(SUNDAY)
        log(model, rows)

        clock("2026-01-25 23:59Z")

        assert statuses(model, rows) == ["duplicate"] * 3

    def test_a_week_without_a_partition_gets_one_from_the_first_writer(
        self, model: Model, clock: Clock
    ) -> None:
        clock("2031-03-05 12:00Z")

        log(model, rows_of_a_day(DAY, 2))

        assert set(weeks()) == {date(2031, 3, 3)}

    def test_a_partition_that_was_undone_with_its_first_writer_is_made_by_the_next(
        self, model: Model, clock: Clock
    ) -> None:
        clock("2031-03-05 12:00Z")
        rows = rows_of_a_day(DAY, 2)
        with contextlib.suppress(LookupError), transaction.atomic():
            log(model, rows)
            raise LookupError

        assert statuses(model, rows) == ["accepted"] * 2

    def test_an_atomic_request_with_a_taken_id_stores_nothing(self, model: Model, clock: Clock) -> None:
        row, fresh = rows_of_a_day(DAY, 2)
        clock(SUNDAY)
        log(model, [row])
        clock(MONDAY)

        assert sorted(statuses(model, [fresh, row])) == ["accepted", "duplicate"]
        assert PredictionRow.objects.count() == 2


@pytest.mark.django_db(transaction=True)
class TestWritersThatMeetAtTheTurn:
    @pytest.fixture(autouse=True)
    def ticking(self, clock: Clock) -> Iterator[None]:
        """Let the clock be one that all connections see change at once, also within a statement."""
        with connection.cursor() as cursor:
            cursor.execute("CREATE SEQUENCE test_time")
            cursor.execute(
                "CREATE FUNCTION test_clock() RETURNS timestamptz LANGUAGE sql VOLATILE "
                "AS 'SELECT to_timestamp(last_value) FROM test_time'"
            )
        arrival._clock = "test_clock()"
        yield
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION test_clock(); DROP SEQUENCE test_time")

    def test_a_writer_of_the_old_week_is_awaited(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        [row] = rows_of_a_day(DAY, 1)
        set_time(SUNDAY)
        writes, go_on = stall_first_writer(monkeypatch)
        with ThreadPoolExecutor(2) as threads:
            old = threads.submit(in_thread, lambda: statuses(model, [row]))
            assert writes.wait(30)
            set_time(MONDAY)
            new = threads.submit(in_thread, lambda: statuses(model, [row]))
            wait_until_it_waits(new)
            go_on.set()

            assert (old.result(), new.result()) == (["accepted"], ["duplicate"])
        assert weeks() == [date(2026, 1, 5)]

    def test_a_writer_that_waited_through_the_turn_stores_in_the_new_week(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = rows_of_a_day(DAY, 2)
        set_time(MONDAY)
        writes, go_on = stall_first_writer(monkeypatch)
        with ThreadPoolExecutor(2) as threads:
            new = threads.submit(in_thread, lambda: statuses(model, [first]))
            assert writes.wait(30)  # it has closed the old week
            set_time(SUNDAY)
            late = threads.submit(in_thread, lambda: statuses(model, [first, second]))
            wait_until_it_waits(late)
            set_time(MONDAY)
            go_on.set()

            assert new.result() == ["accepted"]
            assert late.result() == ["duplicate", "accepted"]
        assert weeks() == [date(2026, 1, 12)] * 2


def set_time(moment: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('test_time', extract(epoch FROM %s::timestamptz)::bigint)", [moment])


def stall_first_writer(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Have the next writer say that it has written its rows, and commit them only when it is told to."""
    writes, go_on, add_chunks = threading.Event(), threading.Event(), store._add_chunks

    def stall(*given: object) -> None:
        if not writes.is_set():
            writes.set()
            assert go_on.wait(30)
        add_chunks(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "_add_chunks", stall)
    return writes, go_on


def wait_until_it_waits(writer: Future[list[str]]) -> None:
    """Return when some connection waits for an advisory lock, or the writer is done without waiting."""
    while not writer.done():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            if cursor.fetchone()[0]:
                return


class TestWeeksThatGo:
    def test_a_week_goes_when_ids_need_not_be_refused_and_no_label_is_awaited(
        self, model: Model, clock: Clock
    ) -> None:
        clock("2026-01-07 12:00Z")
        log(model, rows_of_a_day(DAY, 3))
        grow_old()
        pack_all()
        sunday_of_the_next_week = datetime(2026, 1, 18, 23, tzinfo=UTC)

        assert find_expired_weeks(sunday_of_the_next_week) == []
        assert find_expired_weeks(sunday_of_the_next_week + timedelta(hours=1)) == [date(2026, 1, 5)]

        update_model(model=model, actor="test", objectives={"label_lag_hours": 24 * 30})
        assert find_expired_weeks(datetime(2026, 2, 10, tzinfo=UTC)) == []
        assert find_expired_weeks(datetime(2026, 2, 11, tzinfo=UTC)) == [date(2026, 1, 5)]

    def test_a_week_stays_while_something_of_it_is_to_be_packed(self, model: Model, clock: Clock) -> None:
        clock("2026-01-07 12:00Z")
        log(model, rows_of_a_day(DAY, 3))

        assert find_expired_weeks(datetime.now(UTC)) == []


@pytest.mark.django_db(transaction=True)
def test_no_week_goes_between_the_search_for_a_label_and_its_join(
    model: Model, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock("2026-01-07 12:00Z")
    [row] = rows_of_a_day(DAY, 1)
    log(model, [row])
    monkeypatch.setattr(expiry, "LOCK_TIMEOUT_MS", 1)
    oldest_week, refused = label_targets.oldest_week, []

    def look_while_it_is_dropped() -> date:
        found = oldest_week()
        if connection.in_atomic_block:
            with ThreadPoolExecutor(1) as threads:
                drop = threads.submit(in_thread, lambda: expiry.drop_week(date(2026, 1, 5)))
            refused.append(drop.exception())
        return found

    monkeypatch.setattr(label_targets, "oldest_week", look_while_it_is_dropped)

    assert label_late(model, row.id, "1") == "accepted"
    assert [type(error) for error in refused] == [OperationalError]


class TestAfterTheWindow:
    @pytest.fixture
    def rows(self, model: Model, clock: Clock) -> list[SentPrediction]:
        """Log rows whose narrow rows are gone since."""
        clock("2026-01-07 12:00Z")
        sent = rows_of_a_day(DAY, 40)
        log(model, sent)
        grow_old()
        pack_all()
        connection.check_constraints()
        expire()
        clock(f"{datetime.now(UTC):%Y-%m-%d %H:%MZ}")
        return sent

    @pytest.mark.slow
    def test_no_narrow_row_is_left_and_the_invariants_hold(
        self, model: Model, rows: list[SentPrediction]
    ) -> None:
        work(model)

        assert not PredictionRow.objects.exists()
        assert date(2026, 1, 5) not in partitions.WEEKS.starts()
        assert not [result for result in check_all() if not result.holds]

    def test_a_prediction_is_found_by_its_id_with_its_label(
        self, model: Model, rows: list[SentPrediction]
    ) -> None:
        assert label_late(model, rows[7].id, "1") == "accepted"

        found = prediction(model=model, prediction_id=rows[7].id)

        assert found is not None
        assert found["features"] == rows[7].features
        assert [told["value"] for told in found["labels"]] == ["1"]
        assert prediction(model=model, prediction_id="never-sent") is None

    def test_a_shadows_copy_that_comes_later_does_not_hide_it(
        self, model: Model, rows: list[SentPrediction]
    ) -> None:
        log(model, [msgspec.structs.replace(rows[7], version="2", role="shadow")])

        assert label_late(model, rows[7].id, "1") == "accepted"
        found = prediction(model=model, prediction_id=rows[7].id)

        assert found is not None
        assert (found["version"], [copy["version"] for copy in found["shadows"]]) == ("1", ["2"])

    @pytest.mark.slow
    def test_a_late_label_changes_the_metric_of_its_day(
        self, model: Model, rows: list[SentPrediction]
    ) -> None:
        work(model)

        label_late(model, rows[7].id, str(rows[7].prediction))
        work(model)

        [point] = MetricPoint.objects.filter(
            model=model, metric="label_coverage", span="day", version="", start=DAY
        )
        assert point.value == 1 / 40
        assert not [result for result in check_all() if not result.holds]

    def test_it_is_found_in_a_chunk_without_hashes(self, model: Model, rows: list[SentPrediction]) -> None:
        PredictionChunk.objects.update(id_hashes=None)  # as chunks of earlier releases are

        assert label_late(model, rows[7].id, "1") == "accepted"

    def test_a_label_for_an_id_that_never_came_waits(self, model: Model, rows: list[SentPrediction]) -> None:
        assert label_late(model, "never-sent", "1") == "pending_prediction"

    def test_ids_that_were_made_since_are_not_searched_for(
        self, model: Model, rows: list[SentPrediction], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def opened(*_: object) -> None:
            raise AssertionError("A chunk was searched.")

        monkeypatch.setattr(packed_search, "may_hold", opened)

        assert label_late(model, f"{new_id()}:0", "1") == "pending_prediction"
        with pytest.raises(AssertionError, match="searched"):
            label_late(model, "an-id-without-a-time", "1")

    def test_its_id_may_be_used_again(self, model: Model, rows: list[SentPrediction]) -> None:
        assert statuses(model, rows[:1]) == ["accepted"]

    def test_hashes_weigh_eight_bytes_a_row(self, model: Model, rows: list[SentPrediction]) -> None:
        assert len(PredictionChunk.objects.get().id_hashes or b"") == 8 * 40


def test_a_late_label_is_joined_by_client_id(
    model: Model, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock("2026-01-07 12:00Z")
    rows = rows_of_a_day(DAY, 5)
    log(model, rows)
    give_client_ids(["a", "b", "b", None, None])
    grow_old()
    pack_all()
    connection.check_constraints()
    expire()

    assert label_late(model, "a", "1") == "accepted"
    assert label_late(model, "b", "1") == "ambiguous_id"
    assert Label.objects.get().prediction_id == rows[0].id


def give_client_ids(clients: list[str | None]) -> None:
    """Write client ids into the one chunk there is, as inference logs them."""
    chunk = PredictionChunk.objects.get()
    with pa.ipc.open_stream(chunk.payload) as reader:
        batch = reader.read_next_batch()
    place = batch.schema.get_field_index("client_id")
    batch = batch.set_column(place, "client_id", pa.array(clients, pa.string()))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    chunk.payload = sink.getvalue().to_pybytes()
    chunk.save()
