"""A table of a real PostgreSQL is followed: no row is lost or doubled, and nothing is written there."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.outbound import addresses
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.models import PredictionRow
from inference.prediction_log.queries.selectors import prediction as logged
from inference.prediction_log.sources.kinds import read_settings
from inference.prediction_log.sources.models import DeadLetter, Source, SourcePosition, SourceReader
from inference.prediction_log.sources.reading.adapters import sample
from inference.prediction_log.sources.reading.positions import Fenced
from inference.prediction_log.sources.reading.reader_lease import renewal
from inference.prediction_log.sources.reading.storing import store_batch
from inference.prediction_log.sources.selectors import statuses_of
from inference.prediction_log.sources.services import update_source
from inference.prediction_log.sources.sql import adapter as sql_adapter
from inference.prediction_log.sources.sql import rows as sql_rows
from inference.prediction_log.sources.sql import time_limit
from inference.prediction_log.sources.sql.adapter import sample_rows
from inference.prediction_log.sources.sql.postgresql import PostgresqlDatabase
from inference.prediction_log.sources.sql.queries import Query
from inference.prediction_log.sources.sql.settings import SqlSettings
from inference.registry.models import Model
from tests.inference.prediction_log.sources.sql.conftest import MakeSql, open_table, read_all, read_by
from tests.inference.prediction_log.sources.sql.server import PASSWORD, SqlServer
from tests.ports import free_port

pytestmark = pytest.mark.slow


def ids() -> list[str]:
    return sorted(PredictionRow.objects.values_list("prediction_id", flat=True))


@pytest.fixture
def two_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_adapter, "PAGE", 2)


class TestEachRowOnce:
    def test_rows_of_one_watermark_are_told_apart_by_their_key(
        self, server: SqlServer, make_sql: MakeSql, two_a_page: None
    ) -> None:
        source = make_sql()
        server.add("a", "b", "c", "d", "e")
        server.add("0", at="2026-01-05 11:00Z")

        found = read_all(source)

        assert [orjson.loads(one.value or b"")["id"] for one in found] == ["a", "b", "c", "d", "e", "0"]
        assert [one.offset for one in found] == [*range(6)]
        assert read_all(source) == []
        assert SourcePosition.objects.get().next_offset == 6

    def test_reading_goes_on_behind_the_last_row_that_is_stored(
        self, server: SqlServer, make_sql: MakeSql, two_a_page: None
    ) -> None:
        source = make_sql()
        server.add("a", "b", "c")
        with open_table(source) as adapter:
            store_batch(source, adapter.poll(0), now=now())
            adapter.poll(0)  # and it is killed before these are stored
        server.add("d", at="2026-01-05 10:00:00.000001Z")

        assert len(read_all(source)) == 2
        assert ids() == ["a", "b", "c", "d"]

    def test_a_row_that_is_changed_is_read_again_and_counts_as_a_duplicate(
        self, server: SqlServer, make_sql: MakeSql
    ) -> None:
        source = make_sql()
        server.add("a")
        read_all(source)
        server.run("UPDATE scores SET updated_at = '2026-01-05 12:00Z'")

        assert len(read_all(source)) == 1
        position = SourcePosition.objects.get()
        assert (position.messages, position.rows) == (2, 1)
        assert not DeadLetter.objects.exists()
        assert "Row a was changed after being read" in Source.objects.get().notice

    def test_a_row_without_a_column_of_ids_is_known_by_its_key(
        self, server: SqlServer, make_sql: MakeSql
    ) -> None:
        source = make_sql(
            columns=["prediction", "income"], keys=["id", "number"], mapping={"default_version": "1"}
        )
        server.add("a", "a/1")
        read_all(source)
        server.run("UPDATE scores SET updated_at = '2026-01-05 12:00Z'")
        read_all(source)

        assert sorted(ids()) == ["a/1", r"a\/1/3"]

    def test_watermark_and_keys_are_no_features(self, server: SqlServer, make_sql: MakeSql) -> None:
        source = make_sql(keys=["number"], mapping={"default_version": "1"})
        server.add("a")

        read_all(source)

        found = logged(model=source.model, prediction_id="a")
        assert found is not None
        assert set(found["features"]) == {"income", "home"}

    def test_rows_that_are_younger_than_the_lag_wait(self, server: SqlServer, make_sql: MakeSql) -> None:
        source = make_sql(lag_seconds=3_600)
        server.add("old", at=(now() - timedelta(hours=2)).isoformat())
        server.add("young", at=now().isoformat())

        read_all(source)

        assert ids() == ["old"]
        server.run("UPDATE scores SET updated_at = now() - interval '61 minutes' WHERE id = 'young'")
        read_all(source)
        assert ids() == ["old", "young"]

    def test_a_transaction_that_ends_late_is_seen_within_the_lag(
        self, server: SqlServer, make_sql: MakeSql
    ) -> None:
        """Its row has an older watermark than another, which was committed before it and is too young to be read."""
        source = make_sql(lag_seconds=3_600)
        late = server.connect()
        late.cursor().execute("INSERT INTO scores VALUES ('late', now() - interval '1 minute', 1)")
        server.add("first", at=now().isoformat())
        assert read_all(source) == []
        late.commit()
        late.close()
        server.run("UPDATE scores SET updated_at = updated_at - interval '2 hours'")

        found = read_all(source)

        assert [orjson.loads(one.value or b"")["id"] for one in found] == ["late", "first"]

    def test_a_transaction_that_ends_after_the_lag_is_missed(
        self, server: SqlServer, make_sql: MakeSql
    ) -> None:
        source = make_sql(lag_seconds=60)
        late = server.connect()
        late.cursor().execute("INSERT INTO scores VALUES ('late', now() - interval '9 minutes', 1)")
        server.add("first", at=(now() - timedelta(minutes=5)).isoformat())
        read_all(source)
        late.commit()
        late.close()

        assert read_all(source) == []
        assert ids() == ["first"]

    def test_a_page_of_wide_rows_is_followed_by_the_next_at_once(
        self, server: SqlServer, make_sql: MakeSql, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sql_adapter, "MAX_PAGE_BYTES", 1)
        source = make_sql(interval_seconds=3_600)
        server.add("a", "b", "c")

        read_all(source)

        assert ids() == ["a", "b", "c"]

    def test_a_consumer_that_is_late_is_fenced(self, server: SqlServer, make_sql: MakeSql) -> None:
        source = make_sql()
        server.add("a", "b")
        with open_table(source) as late:
            batch = late.poll(0)
            renewal.end()  # as of a process that stands still
            SourceReader.objects.update(until=now() - timedelta(seconds=1))
            read_all(source)

            with pytest.raises(Fenced):
                store_batch(source, batch, now=now())

            late.resume()
            assert read_by(late, source) == []
        assert SourcePosition.objects.get().messages == 2

    def test_a_second_consumer_stands_by(self, server: SqlServer, make_sql: MakeSql) -> None:
        source = make_sql()
        server.add("a")
        with open_table(source) as first, open_table(source) as second:
            first.poll(0)
            assert second.poll(0) == []
            first.close()
            assert len(second.poll(0)) == 1

    @pytest.mark.parametrize(
        ("watermark", "keys"), [("number", ["id"]), ("updated_at", ["number", "id"]), ("id", ["number"])]
    )
    def test_any_column_that_is_ordered_can_be_followed(
        self, server: SqlServer, make_sql: MakeSql, two_a_page: None, watermark: str, keys: list[str]
    ) -> None:
        source = make_sql(watermark=watermark, keys=keys)
        server.add("a", "bb", "cc", "ddd", "x'%s\"")

        read_all(source)

        assert ids() == sorted(["a", "bb", "cc", "ddd", "x'%s\""])

    def test_another_watermark_begins_anew(self, server: SqlServer, make_sql: MakeSql) -> None:
        source = make_sql()
        server.add("a", "b")
        read_all(source)
        update_source(source=source, actor="ada", settings=read_settings(server.where(watermark="number")))

        assert len(read_all(source)) == 2
        assert ids() == ["a", "b"]

    def test_a_table_of_another_database_begins_anew(self, server: SqlServer, make_sql: MakeSql) -> None:
        source = make_sql()
        server.add("a", "b")
        read_all(source)
        server.make_database("moved")
        server.run(
            "INSERT INTO scores VALUES ('c', '2025-01-05 10:00Z', 1)", database="moved"
        )  # before all that was read
        update_source(source=source, actor="ada", settings=read_settings(server.where(database="moved")))

        assert len(read_all(source)) == 1
        assert ids() == ["a", "b", "c"]

    @pytest.mark.parametrize("lag_seconds", [0, 60])
    def test_rows_of_a_plain_date_are_read_once_their_day_has_ended(
        self, server: SqlServer, make_sql: MakeSql, lag_seconds: int
    ) -> None:
        server.run("CREATE OR REPLACE VIEW by_day AS SELECT *, "
                   "(updated_at AT TIME ZONE 'UTC')::date AS day FROM scores")  # fmt: skip
        server.run("GRANT SELECT ON by_day TO reader")
        source = make_sql(table="by_day", watermark="day", lag_seconds=lag_seconds)
        assert read_all(source) == []
        server.add("of today", at=now().isoformat())
        server.add("old", at=(now() - timedelta(days=5)).isoformat())

        read_all(source)

        assert ids() == ["old"]
        server.add("a late one of that day", at=now().isoformat())
        server.run("UPDATE scores SET updated_at = now() - interval '3 days' WHERE id <> 'old'")
        read_all(source)
        assert ids() == ["a late one of that day", "of today", "old"]


class TestWhatIsSaid:
    def test_rows_without_a_watermark_are_counted(self, server: SqlServer, make_sql: MakeSql) -> None:
        source = make_sql()
        server.add("a")
        server.run("INSERT INTO scores VALUES ('b', NULL, 1), ('c', NULL, 1)")

        read_all(source)

        source.refresh_from_db()
        assert source.notice == "2 rows of scores are not read, as one of updated_at, id is NULL."
        assert ids() == ["a"]

        server.run("UPDATE scores SET updated_at = '2026-01-05 11:00Z' WHERE updated_at IS NULL")
        read_all(source)
        source.refresh_from_db()
        assert (ids(), source.notice) == (["a", "b", "c"], "")

    def test_rows_that_their_keys_do_not_tell_apart_are_said(
        self, server: SqlServer, make_sql: MakeSql
    ) -> None:
        source = make_sql(keys=["prediction"])
        server.add("a", "b")

        read_all(source)

        source.refresh_from_db()
        assert source.notice.startswith(
            "Rows of scores are alike in updated_at, prediction, so some may be missed"
        )

    def test_the_lag_is_what_lies_beyond_the_place(
        self, server: SqlServer, make_sql: MakeSql, two_a_page: None
    ) -> None:
        source = make_sql()
        server.add("a", "b", "c", "d", "e")
        with open_table(source) as adapter:
            store_batch(source, adapter.poll(0), now=now())
            assert adapter.ends() == {"postgresql/others/scores by updated_at, id": 5}
            read_by(adapter, source)

        status = statuses_of([source])[source.pk]
        assert (status.lag_messages, status.lag_objects, status.messages) == (0, None, 5)

    def test_a_count_that_takes_too_long_holds_nothing_up(
        self, server: SqlServer, make_sql: MakeSql, two_a_page: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = make_sql()
        server.add("a", "b", "c")
        execute = PostgresqlDatabase.count

        def slow(database: PostgresqlDatabase, query: Query) -> int:
            return execute(database, Query("SET LOCAL statement_timeout = 1; SELECT pg_sleep(9)"))

        monkeypatch.setattr(PostgresqlDatabase, "count", slow)
        read_all(source)

        assert ids() == ["a", "b", "c"]

    def test_a_row_that_does_not_map_is_a_dead_letter(self, server: SqlServer, make_sql: MakeSql) -> None:
        source = make_sql()
        server.add("a")
        server.run("INSERT INTO scores VALUES ('b', '2026-01-05 11:00Z', NULL, 'NaN')")

        read_all(source)

        assert DeadLetter.objects.get().pointer == "/prediction"
        assert ids() == ["a"]

    def test_a_time_that_python_cannot_hold_is_a_dead_letter(
        self, server: SqlServer, make_sql: MakeSql
    ) -> None:
        source = make_sql(table="ancient")
        server.run("CREATE OR REPLACE VIEW ancient AS SELECT scores.*, CASE id WHEN 'b' THEN '0044-03-15 BC'::date "
                   "ELSE '2026-01-01' END AS born FROM scores")  # fmt: skip
        server.run("GRANT SELECT ON ancient TO reader")
        server.add("a", "b", "c")

        read_all(source)

        assert ids() == ["a", "c"]
        assert "'0044-03-15 BC' is no time between the years 1 and 9999" in DeadLetter.objects.get().detail

    def test_a_row_that_is_too_large_is_a_dead_letter(
        self, server: SqlServer, make_sql: MakeSql, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sql_rows, "MAX_ROW_BYTES", 1_000)
        server.add("a", "b" * 2_000, "c")

        read_all(make_sql())

        assert DeadLetter.objects.get().detail.endswith("and a row has at most 1,000.")
        assert ids() == ["a", "c"]

    def test_a_place_that_python_cannot_hold_is_named(self, server: SqlServer, make_sql: MakeSql) -> None:
        server.add("a", at="0044-03-15 10:00Z BC")

        with pytest.raises(ConnectorFailed, match="is no time between the years 1 and 9999"):
            read_all(make_sql())

    def test_a_watermark_without_an_end_stops_the_source_behind_the_rows_before_it(
        self, server: SqlServer, make_sql: MakeSql
    ) -> None:
        source = make_sql()
        server.add("endless", at="infinity")
        server.add("a")

        with pytest.raises(ConnectorFailed, match="'infinity' is no time between the years 1 and 9999"):
            read_all(source)
        server.add("b", at="2026-01-05 11:00Z")
        with pytest.raises(ConnectorFailed, match="'infinity' is no time"):
            read_all(source)

        assert ids() == ["a", "b"]

    def test_a_time_without_an_end_that_is_no_watermark_is_text(
        self, server: SqlServer, make_sql: MakeSql, model: Model
    ) -> None:
        server.run("CREATE VIEW valid AS SELECT *, 'infinity'::timestamptz AS until FROM scores")
        server.run("GRANT SELECT ON valid TO reader")
        server.add("a")

        read_all(make_sql(table="valid"))

        found = logged(model=model, prediction_id="a")
        assert found is not None
        assert found["features"]["until"] == "infinity"

    def test_a_value_that_the_driver_cannot_read_is_named(self, server: SqlServer, make_sql: MakeSql) -> None:
        server.run(
            "CREATE OR REPLACE VIEW arrays AS SELECT *, ARRAY['0044-03-15 BC'::date] AS days FROM scores"
        )
        server.run("GRANT SELECT ON arrays TO reader")
        server.add("a")

        with pytest.raises(ConnectorFailed, match="A value or setting cannot be read: year"):
            read_all(make_sql(table="arrays"))

    def test_a_lag_needs_a_watermark_of_time(self, server: SqlServer, make_sql: MakeSql) -> None:
        server.add("a")

        with pytest.raises(ConnectorFailed, match="number is no time, so lag_seconds has to be 0"):
            read_all(make_sql(watermark="number", lag_seconds=5))

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"table": "missing"}, 'relation "missing" does not exist'),
            ({"table": "scores; DROP TABLE scores"}, "does not exist"),
            ({"watermark": 'a"b'}, "does not exist"),
            ({"columns": ["nothing"]}, 'column "nothing" does not exist'),
            ({"user": "nobody"}, "password authentication failed"),
            ({"tls": "verify"}, "server does not support SSL"),
        ],
    )
    def test_what_is_wrong_is_named(
        self, server: SqlServer, make_sql: MakeSql, changes: dict[str, Any], said: str
    ) -> None:
        server.add("a")

        with pytest.raises(ConnectorFailed, match=said):
            read_all(make_sql(**changes))
        assert server.run("SELECT count(*) FROM scores") == [(1,)]

    def test_a_server_in_a_network_that_must_not_be_called_is_not(
        self, server: SqlServer, make_sql: MakeSql, settings: Any
    ) -> None:
        source = make_sql()
        settings.OUTBOUND_ALLOW = []

        with pytest.raises(ConnectorFailed, match="must not be reached"):
            read_all(source)

    @pytest.mark.parametrize(("allowed", "said"), [([], "does not answer"), (["127.0.0.1/32"], "refused")])
    def test_a_strangers_port_looks_the_same_closed_or_silent(
        self,
        server: SqlServer,
        make_sql: MakeSql,
        settings: Any,
        monkeypatch: pytest.MonkeyPatch,
        allowed: list[str],
        said: str,
    ) -> None:
        monkeypatch.setattr(addresses, "_is_public", lambda _: True)
        settings.OUTBOUND_ALLOW = allowed
        source = make_sql(tls="verify", port=free_port())

        with pytest.raises(ConnectorFailed, match=said):
            read_all(source)

    def test_without_a_password_no_other_is_taken(
        self, server: SqlServer, make_sql: MakeSql, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGPASSWORD", PASSWORD)

        with pytest.raises(ConnectorFailed, match="A password is needed"):
            read_all(make_sql(secret=""))


class TestTheConnection:
    def test_is_cut_where_a_statement_is_not_answered(
        self, server: SqlServer, make_sql: MakeSql, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.run("CREATE OR REPLACE VIEW slow AS SELECT scores.*, pg_sleep(60)::text AS slept FROM scores")
        server.run("GRANT SELECT ON slow TO reader")
        server.add("a")
        source = make_sql(table="slow")
        monkeypatch.setattr(time_limit, "CONNECT_SECONDS", 0)
        monkeypatch.setattr(time_limit, "STATEMENT_SECONDS", 0.2)

        with (
            open_table(source) as adapter,
            pytest.raises(ConnectorFailed, match="did not answer in time"),
        ):
            adapter.poll(0)

    def test_of_a_preview_is_cut_at_the_deadline_of_all(self, server: SqlServer) -> None:
        server.add("a")

        with pytest.raises(ConnectorFailed, match="did not answer in time"):
            sample_rows(SqlSettings.model_validate(server.where()), PASSWORD, messages=1, seconds=0)

    def test_keeps_its_limits_where_a_pooler_shares_sessions(
        self, server: SqlServer, make_sql: MakeSql
    ) -> None:
        limits = "current_setting('timezone') || ' ' || current_setting('statement_timeout')"
        server.run(f"CREATE OR REPLACE VIEW limits AS SELECT scores.*, {limits} AS limits FROM scores")
        server.run("GRANT SELECT ON limits TO reader")
        server.add("a")
        with open_table(make_sql(table="limits")) as adapter:
            assert isinstance(adapter._database, PostgresqlDatabase)
            connection = adapter._database._connection
            with connection.cursor() as cursor:
                cursor.execute("SET timezone = 'Asia/Tokyo'; SET statement_timeout = 0")
            connection.commit()

            [row] = adapter.poll(0)

        assert orjson.loads(row.value or b"")["limits"] == "UTC 30s"

    def test_writes_nothing(self, server: SqlServer, make_sql: MakeSql) -> None:
        server.run("CREATE OR REPLACE FUNCTION add_one() RETURNS int LANGUAGE sql AS "
                   "$$INSERT INTO scores VALUES ('written') RETURNING 1$$")  # fmt: skip
        server.run("CREATE OR REPLACE VIEW trap AS SELECT *, add_one() AS one FROM scores")
        server.run("GRANT ALL ON scores, trap TO reader")
        server.add("a")

        with pytest.raises(ConnectorFailed, match="read-only transaction"):
            read_all(make_sql(table="trap"))

    def test_columns_become_json(self, server: SqlServer, make_sql: MakeSql, model: Model) -> None:
        server.add("a")

        read_all(make_sql(columns=["id", "updated_at", "prediction", "income", "home"]))

        found = logged(model=model, prediction_id="a")
        assert found is not None
        assert found["features"] == {"income": 41.5, "home": "rent"}
        assert found["timestamp"] == datetime(2026, 1, 5, 10, tzinfo=UTC)

    def test_numbers_without_a_fraction_name_rows_and_versions_and_lists_of_numbers_are_vectors(
        self, server: SqlServer, make_sql: MakeSql, model: Model
    ) -> None:
        server.run("CREATE VIEW numbered AS SELECT 41::numeric(9, 0) AS id, updated_at, prediction, "
                   "7::numeric AS version, ARRAY[0.5, -1] AS photo FROM scores")  # fmt: skip
        server.run("GRANT SELECT ON numbered TO reader")
        server.add("a")

        mapping = {"timestamp": "updated_at", "feature_paths": {"photo": "photo"}}
        read_all(make_sql(table="numbered", mapping=mapping))

        found = logged(model=model, prediction_id="41")
        assert found is not None
        assert found["version"] == "7"
        assert found["features"] | {"photo.norm": None} == {
            "photo.projection_01": 0.5,
            "photo.projection_02": -1,
            "photo.norm": None,
        }


def test_the_newest_rows_are_shown(server: SqlServer, make_sql: MakeSql) -> None:
    server.add("a", "b")
    server.add("c", at="2026-01-06 10:00Z")

    shown = sample(read_settings(server.where()), PASSWORD, messages=2)

    assert [orjson.loads(one.value or b"")["id"] for one in shown] == ["c", "b"]
    assert not SourcePosition.objects.exists()


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"host": "10.0.0.1"}, "/settings/host"),
        ({"host": "/var/run/postgresql"}, "/settings/host"),
        ({"host": "a,b"}, "/settings/host"),
        ({"port": 6379}, "/settings/host"),
        ({"port": 22}, "/settings/host"),
        ({"keys": ["updated_at"]}, "/settings/keys"),
        ({"ca_certificate": "PEM"}, "/settings/ca_certificate"),
    ],
)
def test_what_could_never_work_is_refused_at_its_field(
    server: SqlServer, make_sql: MakeSql, changes: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(Problem) as refused:
        make_sql(**changes)

    assert refused.value.errors[0].pointer == pointer
    assert not Source.objects.exists()
