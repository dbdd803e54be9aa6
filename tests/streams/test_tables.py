"""Every row of a table that grows is in the log once, though the consumer is killed again and again."""

import os
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.db.models import Sum
from psycopg2.extras import execute_values

from driftline.base.clock import now
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.models import PredictionChunk, PredictionRow
from inference.prediction_log.sources.kinds import read_settings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import DeadLetter, Source
from inference.prediction_log.sources.reading.adapters import sample
from inference.prediction_log.sources.selectors import statuses_of
from inference.prediction_log.sources.services import create_source
from inference.prediction_log.sources.sql import bigquery
from inference.prediction_log.sources.sql import settings as sql_settings
from inference.prediction_log.sources.sql.adapter import see_watermark
from inference.prediction_log.sources.sql.opening import open_database
from inference.prediction_log.sources.sql.queries import TableQueries
from inference.prediction_log.sources.sql.settings import SqlSettings
from inference.registry.models import Model
from tests.inference.prediction_log.sources.snowflake_server import pem
from tests.inference.prediction_log.sources.sql.server import PASSWORD, SqlServer, sql_server
from tests.streams import mariadb
from tests.streams.bigquery_server import BigQueryServer, bigquery_server
from tests.streams.consumers import consumers_of
from tests.streams.mariadb import MariaServer, mariadb_server
from tests.streams.snowflake_tables import SnowflakeTables, snowflake_tables
from tests.waiting import wait_until

pytestmark = [pytest.mark.streams, pytest.mark.e2e, pytest.mark.slow]

ROWS = int(os.environ.get("DRIFTLINE_TEST_STREAM_ROWS", 100_000))
TIED, KILLS, PARTS = 500, 5, 10
"""Rows of one watermark, which are committed together, as the lag sees to elsewhere."""
PATIENCE_SECONDS = 300.0
BEGIN = datetime(2026, 1, 5, 10, tzinfo=UTC)


type Server = SqlServer | MariaServer | BigQueryServer | SnowflakeTables


@pytest.fixture(params=[sql_server, mariadb_server, bigquery_server, snowflake_tables])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with request.param(tmp_path) as server:
        yield server


def add(server: Server, start: int, stop: int) -> None:
    """Add rows in no order of their ids, many with the same watermark."""
    numbers = list(range(start, stop))
    random.shuffle(numbers)
    rows = [
        (f"row-{n}", (BEGIN + timedelta(microseconds=n // TIED)).replace(tzinfo=None), n % 2, 41.5, "rent")
        for n in numbers
    ]
    if isinstance(server, BigQueryServer):
        server.run(
            "INSERT INTO loans.scores (id, updated_at, prediction, income, home) "
            "SELECT CONCAT('row-', CAST(n AS STRING)), "
            f"TIMESTAMP_ADD(TIMESTAMP '{BEGIN:%Y-%m-%d %H:%M:%S}+00', INTERVAL DIV(n, {TIED}) MICROSECOND), "
            f"MOD(n, 2), NUMERIC '41.5', 'rent' FROM UNNEST(GENERATE_ARRAY({start}, {stop - 1})) AS n"
        )
    elif isinstance(server, SnowflakeTables):
        server.run(
            'INSERT INTO "scores" ("id", "updated_at", "prediction", "income", "home") '
            f"SELECT 'row-' || n, DATEADD(microsecond, FLOOR(n / {TIED}), '{BEGIN:%Y-%m-%d %H:%M:%S}'::TIMESTAMP_NTZ), "
            f"n % 2, 41.5, 'rent' FROM (SELECT {start} - 1 + ROW_NUMBER() OVER (ORDER BY 1) AS n "
            f"FROM TABLE(GENERATOR(ROWCOUNT => {stop - start})))"
        )
    elif isinstance(server, MariaServer):
        server.run("INSERT INTO others.scores VALUES (%s, %s, %s, %s, %s)", rows)
    else:
        with server.connect() as connection, connection.cursor() as cursor:
            execute_values(
                cursor, "INSERT INTO scores (id, updated_at, prediction, income, home) VALUES %s", rows
            )


def secret_of(server: Server) -> str:
    if isinstance(server, BigQueryServer):
        return server.google.key()
    if isinstance(server, SnowflakeTables):
        return pem()
    return mariadb.PASSWORD if isinstance(server, MariaServer) else PASSWORD


def stored(source: Source) -> int:
    return source.positions.aggregate(n=Sum("messages", default=0))["n"]


def make_source(model: Model, settings: dict[str, Any], password: str) -> Source:
    return create_source(
        project=model.project,
        model=model,
        actor="ada",
        name="table",
        what="predictions",
        settings=read_settings(settings),
        mapping=SourceMapping(default_version="1"),
        secret=password,
    )


def test_a_table_that_grows_while_consumers_are_killed(
    model: Model,
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sql_settings, "MIN_BILLED_INTERVAL_SECONDS", 1)
    source = make_source(model, server.where(lag_seconds=1, interval_seconds=1), secret_of(server))
    part = ROWS // PARTS
    began = time.monotonic()

    with consumers_of("table", tmp_path) as consumers:
        for number in range(2):
            consumers.start(number)

        def wait_for(count: float) -> None:
            def is_stored() -> bool:
                consumers.check()
                return stored(source) >= count

            wait_until(is_stored, seconds=PATIENCE_SECONDS, what=f"{count:,.0f} rows")

        for number in range(PARTS):
            add(server, number * part, (number + 1) * part)
            if number % (PARTS // KILLS) == 0:
                wait_for(number * part + random.random() * part)
                victim = random.randrange(2)
                consumers.kill(victim)
                consumers.start(victim)
            else:
                wait_for((number + 1) * part)
        wait_for(ROWS)
        seconds = time.monotonic() - began
        assert [consumers.stop(number) for number in range(2)] == [0, 0]

    said = f"{ROWS:,} rows of {type(server).__name__}, {KILLS} kills: {seconds:.0f} s"
    with capsys.disabled():
        print(f"\n  {said}, {ROWS / seconds:,.0f} rows/s ", end="", flush=True)
    ids = PredictionRow.objects.filter(model=model).values_list("prediction_id", flat=True)
    assert (ids.count(), ids.distinct().count()) == (ROWS, ROWS)
    assert PredictionChunk.objects.filter(model=model).aggregate(n=Sum("rows"))["n"] == ROWS
    assert stored(source) == ROWS
    assert not DeadLetter.objects.exists()
    assert statuses_of([source])[source.pk].lag_messages == 0


class TestMariaDb:
    @pytest.fixture
    def maria(self, tmp_path: Path, settings: Any) -> Iterator[MariaServer]:
        settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
        with mariadb_server(tmp_path) as server:
            yield server

    def test_what_is_wrong_is_named_and_what_is_right_is_shown(self, maria: MariaServer) -> None:
        moment = now().replace(tzinfo=None) - timedelta(hours=1)
        maria.run(
            "INSERT INTO others.scores VALUES (%s, %s, 1, 41.5, NULL)", [("a", moment), ("b'\\\"", moment)]
        )

        def shown(password: str = mariadb.PASSWORD, **changes: Any) -> int:
            return len(sample(read_settings(maria.where(**changes)), password, messages=10))

        assert shown() == 2
        assert shown(tls="none", ca_certificate="") == 2
        assert shown(ca_certificate=f"# é\n{maria.certificate}") == 2
        assert shown(lag_seconds=7_200) == 0
        for changes, said in (
            ({"ca_certificate": ""}, "certificate verify failed"),
            ({"ca_certificate": "no PEM"}, "does not contain a certificate"),
            ({"password": "wrong"}, "Access denied"),
            ({"table": "missing"}, "doesn't exist"),
            ({"watermark": "prediction"}, "is no time"),
        ):
            with pytest.raises(ConnectorFailed, match=said):
                shown(**changes)

    def test_a_server_without_tls_is_not_read_where_it_is_asked_for(
        self, tmp_path: Path, settings: Any
    ) -> None:
        settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
        with mariadb_server(tmp_path, "--skip-ssl") as server:
            for verifying in ({}, {"ca_certificate": ""}):
                with pytest.raises(ConnectorFailed, match=r"TLS|SSL"):
                    sample(read_settings(server.where(**verifying)), mariadb.PASSWORD, messages=10)

    def test_rows_of_a_plain_date_are_read_once_their_day_has_ended(self, maria: MariaServer) -> None:
        maria.run("CREATE VIEW others.by_day AS SELECT *, date(updated_at) AS day FROM others.scores")
        moment = now().replace(tzinfo=None)
        maria.run(
            "INSERT INTO others.scores VALUES (%s, %s, 1, 41.5, NULL)",
            [("today", moment), ("old", moment - timedelta(days=2))],
        )

        where = read_settings(maria.where(table="by_day", watermark="day"))
        [row] = sample(where, mariadb.PASSWORD, messages=10)

        assert b'"id":"old"' in (row.value or b"")


class TestBigQuery:
    @pytest.fixture
    def warehouse(self, tmp_path: Path, settings: Any) -> Iterator[BigQueryServer]:
        settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
        with bigquery_server(tmp_path) as server:
            yield server

    def test_rows_of_every_type_are_shown(self, warehouse: BigQueryServer) -> None:
        warehouse.run(
            "INSERT INTO loans.scores VALUES ('a\\'', TIMESTAMP '2026-01-05 10:00:00.123456+00', 1, NUMERIC '41.50', "
            "NULL, DATE '2026-01-05', DATETIME '2026-01-05 10:00:00.5', -7, ['x', 'y'], STRUCT(41, b'raw'), 1.5, TRUE)"
        )

        [row] = sample(read_settings(warehouse.where()), warehouse.google.key(), messages=10)

        assert orjson.loads(row.value or b"") == {
            "id": "a'",
            "updated_at": "2026-01-05T10:00:00.123456Z",
            "prediction": 1,
            "income": 41.5,
            "home": None,
            "day": "2026-01-05",
            "local": "2026-01-05T10:00:00.500000Z",
            "number": -7,
            "tags": ["x", "y"],
            "about": {"age": 41, "raw": "cmF3"},
            "share": 1.5,
            "is_new": True,
        }

    @pytest.mark.parametrize(
        ("watermark", "lag_seconds"),
        [("updated_at", 1), ("day", 1), ("local", 1), ("number", 0), ("income", 0)],
    )
    def test_a_watermark_of_every_type_is_followed_page_by_page(
        self, warehouse: BigQueryServer, monkeypatch: pytest.MonkeyPatch, watermark: str, lag_seconds: int
    ) -> None:
        monkeypatch.setattr(bigquery, "ROWS_AT_ONCE", 2)
        warehouse.run(
            "INSERT INTO loans.scores (id, updated_at, day, local, number, income) "
            "SELECT CONCAT('row-', CAST(n AS STRING)), "
            "TIMESTAMP '2026-01-05 10:00:00+00', DATE '2026-01-05', DATETIME '2026-01-05 10:00:00', 7, NUMERIC '7.5' "
            "FROM UNNEST(GENERATE_ARRAY(0, 6)) AS n"
        )
        where = read_settings(warehouse.where(watermark=watermark, lag_seconds=lag_seconds))
        assert isinstance(where, SqlSettings)
        database, queries = open_database(where, warehouse.google.key()), TableQueries(where)
        assert see_watermark(database, queries, where)

        first = [row for _, row in database.read(queries.page(None, 5))]
        second = [row for _, row in database.read(queries.page(first[-1][-2:], 5))]

        assert [row[-1] for row in first + second] == [f"row-{n}" for n in range(7)]
        assert database.count(queries.count_beyond(first[-1][-2:], 100)) == 2
        assert database.count(queries.count_without_place()) == 0

    def test_what_is_wrong_is_named(self, warehouse: BigQueryServer) -> None:
        warehouse.run(
            "INSERT INTO loans.scores (id, updated_at) VALUES ('a', TIMESTAMP '2026-01-05 10:00:00+00')"
        )

        for changes, said in (
            ({"table": "missing"}, "The database cannot be read: 404"),
            ({"columns": ["missing"]}, "The database cannot be read: 400 Unrecognized name: missing"),
            ({"watermark": "id", "keys": ["number"]}, "is no time"),
            ({"user": "ada@tests.iam.gserviceaccount.com"}, "name that as the user"),
        ):
            with pytest.raises(ConnectorFailed, match=said):
                sample(read_settings(warehouse.where(**changes)), warehouse.google.key(), messages=10)


class TestSnowflake:
    @pytest.fixture
    def warehouse(self, tmp_path: Path, settings: Any) -> Iterator[SnowflakeTables]:
        settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
        with snowflake_tables(tmp_path) as server:
            yield server

    def test_rows_of_every_type_are_shown(self, warehouse: SnowflakeTables) -> None:
        warehouse.run(
            "INSERT INTO \"scores\" SELECT 'a''', '2026-01-05 10:00:00.123456', 1, 41.50, NULL, '2026-01-05', -7, "
            "'2026-01-05 10:00:00+00:00'::TIMESTAMP_TZ, '10:00:00.5', PARSE_JSON('{\"age\": 41}'), "
            "TO_BINARY('726177', 'HEX'), 1.5, TRUE"
        )

        [row] = sample(read_settings(warehouse.where()), pem(), messages=10)

        assert orjson.loads(row.value or b"") == {
            "id": "a'",
            "updated_at": "2026-01-05T10:00:00.123456Z",
            "prediction": 1,
            "income": 41.5,
            "home": None,
            "day": "2026-01-05",
            "number": -7,
            "moment": "2026-01-05T10:00:00Z",
            "hour": "10:00:00.500000",
            "about": {"age": 41},
            "raw": "cmF3",
            "share": 1.5,
            "is_new": True,
        }

    @pytest.mark.parametrize(
        ("watermark", "lag_seconds"),
        [("updated_at", 1), ("day", 1), ("moment", 1), ("number", 0), ("income", 0)],
    )
    def test_a_watermark_of_every_type_is_followed_page_by_page(
        self, warehouse: SnowflakeTables, watermark: str, lag_seconds: int
    ) -> None:
        warehouse.run(
            'INSERT INTO "scores" ("id", "updated_at", "day", "moment", "number", "income") '
            "SELECT 'row-' || n, '2026-01-05 10:00:00', '2026-01-05', '2026-01-05 10:00:00+00:00'::TIMESTAMP_TZ, 7, "
            "7.5 FROM (SELECT ROW_NUMBER() OVER (ORDER BY 1) - 1 AS n FROM TABLE(GENERATOR(ROWCOUNT => 7)))"
        )
        where = read_settings(warehouse.where(watermark=watermark, lag_seconds=lag_seconds))
        assert isinstance(where, SqlSettings)
        database, queries = open_database(where, pem()), TableQueries(where)
        assert see_watermark(database, queries, where)

        first = [row for _, row in database.read(queries.page(None, 5))]
        second = [row for _, row in database.read(queries.page(first[-1][-2:], 5))]

        assert [row[-1] for row in first + second] == [f"row-{n}" for n in range(7)]
        assert database.count(queries.count_beyond(first[-1][-2:], 100)) == 2
        assert database.count(queries.count_without_place()) == 0

    def test_what_is_wrong_is_named(self, warehouse: SnowflakeTables) -> None:
        warehouse.run('INSERT INTO "scores" ("id", "updated_at") VALUES (\'a\', \'2026-01-05 10:00:00\')')

        for changes, said in (
            ({"table": "missing"}, "422 .*does not exist.* Names are case-sensitive"),
            ({"columns": ["missing"]}, "422 .*missing.* Names are case-sensitive"),
            ({"watermark": "id", "keys": ["number"]}, "is no time"),
            ({"warehouse": "OTHER"}, "422 No active warehouse"),
            ({"user": "eve"}, "401 JWT token is invalid"),
        ):
            with pytest.raises(ConnectorFailed, match=said):
                sample(read_settings(warehouse.where(**changes)), pem(), messages=10)
