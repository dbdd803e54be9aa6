"""Statements for Snowflake are of its dialect, requests are signed, and hostile answers and keys are refused.

tests/streams/test_tables.py asks an emulator of another process.
"""

import gzip
import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, ClassVar

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from driftline.base.errors import Problem
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.imports.engine import bounded_memory
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.prediction_log.sources.services import create_source
from inference.prediction_log.sources.sql import adapter as sql_adapter
from inference.prediction_log.sources.sql import snowflake
from inference.prediction_log.sources.sql.adapter import SqlAdapter, sample_rows
from inference.prediction_log.sources.sql.database import Database
from inference.prediction_log.sources.sql.nanoseconds import NanosecondTime
from inference.prediction_log.sources.sql.opening import open_database
from inference.prediction_log.sources.sql.queries import Query, TableQueries
from inference.prediction_log.sources.sql.rows import Unreadable, write_row
from inference.prediction_log.sources.sql.settings import SqlSettings, check_sql
from inference.prediction_log.sources.sql.snowflake_key import account_of
from inference.registry.models import Model
from tests.inference.prediction_log.sources.google_server import pem_of
from tests.inference.prediction_log.sources.snowflake_server import (
    PATH,
    USER,
    WAREHOUSE,
    Result,
    SnowflakeServer,
    pem,
)

MANY = Query("SELECT 1", max_rows=1_000)
NUMBER = {"name": "N", "type": "FIXED", "scale": 0}
TEN = datetime(2026, 1, 5, 10, tzinfo=UTC)
TEN_SECONDS = str(int(TEN.timestamp()))
METADATA = {"rowType": [NUMBER], "partitionInfo": [{"rowCount": 1}]}
BASE = {"resultSetMetaData": METADATA, "data": [["1"]]}


@pytest.fixture
def server(settings: Any) -> Iterator[SnowflakeServer]:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    with SnowflakeServer(lambda _: Result([NUMBER], [[["1"]]])) as running:
        yield running


def settings_of(server: SnowflakeServer | None = None, **changes: Any) -> SqlSettings:
    where: dict[str, Any] = {
        "engine": "snowflake",
        "host": "acme-main.snowflakecomputing.com",
        "database": "LOANS",
        "schema_name": "PUBLIC",
        "user": USER,
        "warehouse": WAREHOUSE,
        "table": "SCORES",
        "watermark": "UPDATED_AT",
        "keys": ["ID"],
        "interval_seconds": 60,
    }
    if server is not None:
        where |= {"host": "127.0.0.1", "port": server.port, "tls": "none"}
    return SqlSettings.model_validate(where | changes)


def opened(server: SnowflakeServer, **changes: Any) -> Database:
    return open_database(settings_of(server, **changes), pem())


def read(server: SnowflakeServer) -> list[Any]:
    """Return the values of the first column that a statement gives."""
    return [row[0] for _, row in opened(server).read(MANY)]


def value_of(server: SnowflakeServer, column: dict[str, Any], cell: str | None) -> Any:
    server.run = lambda _: Result([{"name": "N", **column}], [[[cell]]])
    [found] = read(server)
    return found


class TestStatements:
    def test_name_the_schema_and_each_column_once(self) -> None:
        page = TableQueries(settings_of(lag_seconds=60)).page(None, 5)

        assert page == Query(
            'SELECT *, "UPDATED_AT" AS driftline_place_0, "ID" AS driftline_place_1 FROM "PUBLIC"."SCORES" '
            'WHERE "UPDATED_AT" IS NOT NULL AND "ID" IS NOT NULL AND '
            '"UPDATED_AT" < DATEADD(second, -60, SYSDATE()) ORDER BY "UPDATED_AT", "ID" LIMIT 5',
            [],
            max_rows=5,
            min_columns=3,
        )

    def test_compare_places_column_by_column(self) -> None:
        where = TableQueries(settings_of(lag_seconds=0)).count_beyond([1, "x"], 9)

        assert '"UPDATED_AT" >= ? AND ("UPDATED_AT" > ? OR ("UPDATED_AT" = ? AND "ID" > ?))' in where.text
        assert list(where.values) == [1, 1, 1, "x"]

    def test_quote_names_that_would_end_them(self) -> None:
        text = TableQueries(settings_of(table='a" WHERE 1=1 --', columns=["100%"])).page(None, 5).text

        assert '"a"" WHERE 1=1 --"' in text
        assert text.startswith('SELECT "100%", ')

    def test_are_sent_with_where_they_run_and_how_long(self, server: SnowflakeServer) -> None:
        list(opened(server, role="READER").read(Query("SELECT ?", ["x"])))

        [sent] = server.statements
        assert sent == {
            "statement": "SELECT ?",
            "bindings": {"1": {"type": "TEXT", "value": "x"}},
            "timeout": 30,
            "database": "LOANS",
            "schema": "PUBLIC",
            "warehouse": WAREHOUSE,
            "role": "READER",
            "parameters": {
                "TIMEZONE": "UTC",
                "BINARY_OUTPUT_FORMAT": "HEX",
                "ROWS_PER_RESULTSET": "0",
                "CLIENT_RESULT_CHUNK_SIZE": "48",
            },
        }

    @pytest.mark.parametrize(
        ("kind", "cell", "settled"),
        [
            ("TIMESTAMP_NTZ", f"{TEN_SECONDS}.000000000", '"UPDATED_AT" < DATEADD(second, -60, SYSDATE())'),
            ("DATE", "17982", '"UPDATED_AT" < CAST(DATEADD(second, -60, SYSDATE()) AS date)'),
            (
                "TIMESTAMP_LTZ",
                f"{TEN_SECONDS}.000000000",
                '"UPDATED_AT" < DATEADD(second, -60, CURRENT_TIMESTAMP())',
            ),
            (
                "TIMESTAMP_TZ",
                f"{TEN_SECONDS}.000000000 1500",
                '"UPDATED_AT" < DATEADD(second, -60, CURRENT_TIMESTAMP())',
            ),
        ],
    )
    def test_compare_watermarks_in_utc_whatever_the_zone_of_the_session(
        self, server: SnowflakeServer, kind: str, cell: str, settled: str
    ) -> None:
        watermark = {"name": "UPDATED_AT", "type": kind}

        def run(body: dict[str, Any]) -> Result:
            is_page = "driftline_place_0" in body["statement"]
            return Result([watermark, watermark, NUMBER]) if is_page else Result([watermark], [[[cell]]])

        server.run = run

        sample_rows(settings_of(server, lag_seconds=60), pem(), messages=5, seconds=30)

        assert f"{settled} ORDER BY" in server.statements[-1]["statement"]

    @pytest.mark.parametrize(
        ("kind", "cell"), [("DATE", "9" * 9), ("TIMESTAMP_NTZ", "9" * 12), ("TIMESTAMP_LTZ", "9" * 12)]
    )
    def test_are_not_sent_where_the_watermark_that_is_seen_is_no_time_of_a_calendar(
        self, server: SnowflakeServer, kind: str, cell: str
    ) -> None:
        server.run = lambda _: Result([{"name": "UPDATED_AT", "type": kind}], [[[cell]]])

        with pytest.raises(ConnectorFailed, match=r"UPDATED_AT cannot be followed: '9+' is no time"):
            sample_rows(settings_of(server), pem(), messages=5, seconds=30)
        assert len(server.statements) == 1

    def test_run_as_the_default_role_of_the_user(self, server: SnowflakeServer) -> None:
        read(server)

        assert "role" not in server.statements[0]

    @pytest.mark.parametrize(
        ("value", "kind", "text"),
        [
            (-7, "FIXED", "-7"),
            (Decimal("1E+3"), "FIXED", "1000"),
            (Decimal("41.50"), "FIXED", "41.50"),
            ("a'", "TEXT", "a'"),
            (b"raw", "BINARY", "726177"),
            (date(2026, 1, 5), "DATE", "1767571200000"),
            (date(1969, 12, 31), "DATE", "-86400000"),
            (datetime(2026, 1, 5, 10), "TIMESTAMP_NTZ", f"{TEN_SECONDS}000000000"),
            (TEN.astimezone(timezone(timedelta(hours=2))), "TIMESTAMP_LTZ", f"{TEN_SECONDS}000000000"),
            (NanosecondTime.after(TEN, 7), "TIMESTAMP_LTZ", f"{TEN_SECONDS}000000007"),
        ],
    )
    def test_have_each_part_of_a_place_with_its_type(
        self, server: SnowflakeServer, value: Any, kind: str, text: str
    ) -> None:
        list(opened(server).read(Query("SELECT ?", [value])))

        assert server.statements[0]["bindings"] == {"1": {"type": kind, "value": text}}


class TestAnswers:
    @pytest.mark.parametrize(
        ("column", "cell", "value"),
        [
            ({"type": "fixed", "scale": 0}, "-7", -7),
            ({"type": "FIXED", "scale": 0}, "9" * 38, Decimal("9" * 38)),
            ({"type": "FIXED", "scale": 2}, "41.50", Decimal("41.50")),
            ({"type": "REAL"}, "1.5", 1.5),
            ({"type": "REAL"}, "-inf", -math.inf),
            ({"type": "DECFLOAT"}, "1.23e-40", 1.23e-40),
            ({"type": "BOOLEAN"}, "false", False),
            ({"type": "BINARY"}, "726177", b"raw"),
            ({"type": "DATE"}, "17982", date(2019, 3, 27)),
            ({"type": "DATE"}, "-1", date(1969, 12, 31)),
            ({"type": "DATE"}, "9" * 9, Unreadable("9" * 9)),
            ({"type": "TIME"}, "82919.123456789", time(23, 1, 59, 123456)),
            ({"type": "TIMESTAMP_NTZ"}, f"{TEN_SECONDS}.123456000", datetime(2026, 1, 5, 10, 0, 0, 123456)),
            ({"type": "TIMESTAMP_LTZ"}, f"{TEN_SECONDS}.000000000", TEN),
            ({"type": "TIMESTAMP_LTZ"}, "-0.500000000", datetime(1969, 12, 31, 23, 59, 59, 500_000, UTC)),
            ({"type": "TIMESTAMP_LTZ"}, "9" * 12, Unreadable("9" * 12)),
            ({"type": "TIMESTAMP_TZ"}, f"{TEN_SECONDS}.000000000 1500", TEN),
            ({"type": "TIMESTAMP_LTZ"}, f"{TEN_SECONDS}.000000007", NanosecondTime.after(TEN, 7)),
            ({"type": "VARIANT"}, '{"a": [1]}', msgspec.Raw(b'{"a": [1]}')),
            ({"type": "ARRAY"}, "[\n  undefined\n]", "[\n  undefined\n]"),
            ({"type": "TEXT"}, 'a],["b\\', 'a],["b\\'),
            ({"type": "GEOGRAPHY"}, '{"type": "Point"}', '{"type": "Point"}'),
            ({"type": "FIXED"}, None, None),
        ],
    )
    def test_become_values_by_their_types(
        self, server: SnowflakeServer, column: dict[str, Any], cell: str | None, value: Any
    ) -> None:
        assert value_of(server, column, cell) == value

    def test_keep_the_offset_of_a_time(self, server: SnowflakeServer) -> None:
        moment = value_of(server, {"type": "TIMESTAMP_TZ"}, f"{TEN_SECONDS}.000000000 1500")

        assert moment.isoformat() == "2026-01-05T11:00:00+01:00"

    def test_become_rows_of_json(self) -> None:
        row = {
            "a": NanosecondTime.after(TEN, 7),
            "b": math.nan,
            "c": msgspec.Raw(b'{"d": [1]}'),
            "e": time(23, 1, 59),
            "f": Decimal("NaN"),
        }

        assert write_row(row) == (
            b'{"a":"2026-01-05T10:00:00Z","b":null,"c":{"d": [1]},"e":"23:01:59","f":null}',
            None,
        )

    @pytest.mark.parametrize("number", [(1 << 53) + 1, 1 << 63, -(1 << 63) - 1, 10**37 + 1])
    def test_keep_long_ids_apart(self, server: SnowflakeServer, number: int) -> None:
        found = value_of(server, {"type": "FIXED", "scale": 0}, str(number))

        for value in (found, Decimal(number)):
            assert write_row({"ID": value}) == (b'{"ID":%d}' % number, None)

    @pytest.mark.parametrize(
        ("column", "cell"),
        [
            ({"type": "FIXED", "scale": 0}, "many"),
            ({"type": "FIXED", "scale": 0}, "9" * 5_000),
            ({"type": "FIXED", "scale": 2}, "1e3000000000"),
            ({"type": "FIXED", "scale": 2}, "NaN"),
            ({"type": "REAL"}, "ten"),
            ({"type": "DECFLOAT"}, "many"),
            ({"type": "BOOLEAN"}, "yes"),
            ({"type": "BINARY"}, "no hex"),
            ({"type": "DATE"}, "2026-01-05"),
            ({"type": "TIME"}, "12:00"),
            ({"type": "TIMESTAMP_NTZ"}, "1e999999999"),
            ({"type": "TIMESTAMP_NTZ"}, "1.7676072E9"),
            ({"type": "TIMESTAMP_TZ"}, f"{TEN_SECONDS}.000000000"),
            ({"type": "TIMESTAMP_TZ"}, f"{TEN_SECONDS}.000000000 9000"),
        ],
    )
    def test_are_refused_where_a_value_is_not_of_its_type(
        self, server: SnowflakeServer, column: dict[str, Any], cell: str
    ) -> None:
        with pytest.raises(ConnectorFailed, match="none of Snowflake"):
            value_of(server, column, cell)

    @pytest.mark.parametrize(
        "document",
        [
            b"",
            b"<html>",
            b"[" * 100_000,
            {},
            BASE | {"resultSetMetaData": METADATA | {"rowType": []}, "data": [[]]},
            BASE | {"resultSetMetaData": METADATA | {"rowType": [{"name": "N"}]}},
            BASE | {"resultSetMetaData": METADATA | {"partitionInfo": [{"rowCount": 2}]}},
            BASE | {"resultSetMetaData": METADATA | {"partitionInfo": [{"rowCount": 1}, {"rowCount": 0}]}},
            BASE | {"statementHandle": "../../elsewhere"},
            BASE | {"data": {}},
            BASE | {"data": [["1"], ["2"]]},
            BASE | {"data": [["1", "2"]]},
            BASE | {"data": [[1]]},
            BASE | {"data": [[["1"]]]},
            BASE | {"data": ["1"]},
            BASE | {"data": ["[" * 1_000_000]},
            BASE | {"data": "[" * 1_000_000},
            BASE | {"data": [[]] * 1_000},
            gzip.compress(b"no JSON", mtime=0),
            gzip.compress(json.dumps(BASE).encode(), mtime=0)[:-9],
            gzip.compress(json.dumps(BASE).encode(), mtime=0) + gzip.compress(b"", mtime=0),
            gzip.compress(json.dumps(BASE).encode(), mtime=0) + b" ",
            BASE | {"statementHandle": "a\n"},
            BASE | {"resultSetMetaData": METADATA | {"rowType": [NUMBER | {"x": "x" * (1 << 20)}]}},
            BASE
            | {"resultSetMetaData": METADATA | {"partitionInfo": [{"rowCount": 1, "x": "x" * (1 << 20)}]}},
            b"\x1f\x8bno gzip",
        ],
    )
    def test_are_refused_where_they_are_none(self, server: SnowflakeServer, document: Any) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        server.answers["status"] = 200, body, {}

        with pytest.raises(ConnectorFailed, match="none of Snowflake"):
            read(server)

    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    def test_are_refused_where_they_are_longer_than_any(
        self, server: SnowflakeServer, monkeypatch: pytest.MonkeyPatch, pack: Any
    ) -> None:
        monkeypatch.setattr(snowflake, "MAX_ANSWER_BYTES", 500)
        document = BASE | {"data": [["1" * 1_000]]}
        server.answers["status"] = 200, pack(json.dumps(document).encode()), {}

        with pytest.raises(ConnectorFailed, match="longer than a page of rows"):
            read(server)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "document",
        [
            b'{"resultSetMetaData": {"rowType": [{"name": "N", "type": "FIXED"}], "partitionInfo": [{"rowCount": 1}]}, '
            b'"data": [[' + b'"a",' * (4 << 20) + b'"a"]]}',
            b'{"resultSetMetaData": {"rowType": ['
            + b'{"name":"","type":""},' * 800_000
            + b'{"name":"","type":""}], '
            b'"partitionInfo": [{"rowCount": 1}]}, "data": [["1"]]}',
            b'{"resultSetMetaData": {"rowType": [{"name": "N", "type": "FIXED"}], "partitionInfo": ['
            + b'{"rowCount":1},' * 1_000_000
            + b'{"rowCount": 1}]}, "data": [["1"]]}',
        ],
        ids=["cells", "columns", "partitions"],
    )
    def test_of_many_small_parts_are_refused_before_they_fill_memory(
        self, server: SnowflakeServer, document: bytes
    ) -> None:
        server.answers["statement"] = 200, gzip.compress(document), {}

        with bounded_memory(96 << 20), pytest.raises(ConnectorFailed, match="none of Snowflake"):
            read(server)

    def test_with_a_running_statement_have_no_rows_without_its_handle(self, server: SnowflakeServer) -> None:
        server.answers["statement"] = 202, b"{}", {}

        with pytest.raises(ConnectorFailed, match="none of Snowflake"):
            read(server)

    def test_may_come_at_once(self, server: SnowflakeServer) -> None:
        server.answers["statement"] = 200, json.dumps(BASE).encode(), {}

        assert read(server) == [1]

    def test_may_have_white_space(self, server: SnowflakeServer) -> None:
        server.answers["status"] = 200, json.dumps(BASE, indent=2).encode(), {}

        assert read(server) == [1]

    def test_of_several_partitions_are_read_in_their_order(self, server: SnowflakeServer) -> None:
        server.run = lambda _: Result([NUMBER], [[["1"], ["2"]], [["3"]], [["4"]]])

        assert read(server) == [1, 2, 3, 4]
        assert [path.partition("?")[2] for _, path, _ in server.requests] == [
            "async=true",
            "",
            "partition=1",
            "partition=2",
        ]

    def test_of_long_statements_are_asked_for_until_they_end(
        self, server: SnowflakeServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(snowflake, "PAUSE_SECONDS", 0)
        server.running = [202, 429, 202]

        assert read(server) == [1]
        assert server.running == []

    def test_that_come_too_late_are_said_and_the_statement_is_cancelled(
        self, server: SnowflakeServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(snowflake, "STATEMENT_SECONDS", 0)
        server.running = [202]

        with pytest.raises(ConnectorFailed, match="did not answer in time"):
            read(server)
        method, path, _ = server.requests[-1]
        assert method == "POST"
        assert path.startswith(f"{PATH}/")
        assert path.endswith("/cancel")

    def test_that_the_statement_took_too_long_are_said(self, server: SnowflakeServer) -> None:
        server.answers["status"] = 408, b"{}", {}

        with pytest.raises(ConnectorFailed, match="did not answer in time"):
            read(server)

    def test_end_with_the_rows_that_were_asked_for(self, server: SnowflakeServer) -> None:
        server.run = lambda _: Result([NUMBER], [[["1"]] * 5, [["1"]]])

        assert len(list(opened(server).read(Query("SELECT 1", max_rows=2)))) == 2
        assert len(server.requests) == 2

    def test_with_fewer_columns_than_a_place_are_refused_in_a_preview(self, server: SnowflakeServer) -> None:
        with pytest.raises(ConnectorFailed, match="none of Snowflake"):
            sample_rows(settings_of(server, lag_seconds=0), pem(), messages=5, seconds=30)

    @pytest.mark.parametrize("rows", [[], [["-1"]], [[str(1 << 53)]], [["9" * 30]]])
    def test_that_are_no_count_are_refused(self, server: SnowflakeServer, rows: Any) -> None:
        server.run = lambda _: Result([NUMBER], [rows])

        with pytest.raises(ConnectorFailed, match="none of Snowflake"):
            opened(server).count(MANY)

    def test_lead_nowhere_else(self, server: SnowflakeServer) -> None:
        server.answers["statement"] = 307, b"", {"Location": f"{server.url}/elsewhere"}

        with pytest.raises(ConnectorFailed, match="cannot be read: 307"):
            read(server)
        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        ("status", "advice"),
        [
            (401, "Check the account in the host, the user"),
            (403, "Check the network policy"),
            (404, "Check host and port"),
            (422, "Names are case-sensitive"),
            (429, "look for new rows less often"),
        ],
    )
    def test_that_refuse_are_said_with_their_reason_and_what_to_check(
        self, server: SnowflakeServer, status: int, advice: str
    ) -> None:
        refusal = json.dumps({"code": "1", "message": "SQL error:\n" + "x" * 1_000}).encode()
        server.answers["statement"] = status, refusal, {}

        with pytest.raises(ConnectorFailed) as caught:
            read(server)

        assert str(caught.value).startswith(f"The database cannot be read: {status} SQL error: xxx")
        assert advice in str(caught.value)
        assert len(str(caught.value)) < 350

    def test_that_refuse_are_said_with_their_reason_where_it_is_packed(self, server: SnowflakeServer) -> None:
        refusal = gzip.compress(json.dumps({"message": "Table LOANS does not exist"}).encode())
        for part in ("status", "statement"):
            server.answers[part] = 422, refusal, {"Content-Encoding": "gzip"}

            with pytest.raises(ConnectorFailed, match="422 Table LOANS does not exist"):
                read(server)

    def test_that_repeat_the_token_are_said_without_it(self, server: SnowflakeServer) -> None:
        read(server)
        token = server.requests[0][2]["authorization"].removeprefix("Bearer ")
        server.answers["statement"] = 403, json.dumps({"message": f"{token} is refused"}).encode(), {}

        with pytest.raises(ConnectorFailed, match="403 … is refused"):
            read(server)

    def test_name_what_the_statement_lacks(self, server: SnowflakeServer) -> None:
        with pytest.raises(ConnectorFailed, match="422 No active warehouse selected in the session"):
            list(opened(server, warehouse="OTHER").read(MANY))


def adapter_of(model: Model, server: SnowflakeServer) -> SqlAdapter:
    """Open a new source of a model that reads the server's table."""
    settings = settings_of(server)
    source = create_source(
        project=model.project, model=model, actor="ada", name="table", what="predictions", settings=settings,
        mapping=SourceMapping(default_version="1"), secret=pem(),
    )  # fmt: skip
    return SqlAdapter(source.pk, settings, pem(), wait=lambda _: None)


class TestPlaces:
    """Rows within a microsecond are read once, though Python's times end there."""

    ROWS: ClassVar = [(f"{TEN_SECONDS}.{n:09}", str(n)) for n in range(1, 6)]

    def run(self, body: dict[str, Any]) -> Result:
        """Give what the table has behind the place that is bound, or the count or the time that is asked for."""
        moment = {"name": "UPDATED_AT", "type": "TIMESTAMP_NTZ", "scale": 9}
        if "count(*)" in body["statement"]:
            return Result([NUMBER], [[["0"]]])
        if "driftline_place_0" not in body["statement"]:
            return Result([moment], [[[self.ROWS[0][0]]]])
        bound = [binding["value"] for binding in body["bindings"].values()]
        place = (int(bound[0]), int(bound[-1])) if bound else (0, 0)
        behind = [row for row in self.ROWS if (int(row[0].replace(".", "")), int(row[1])) > place]
        return Result([moment, NUMBER, moment, NUMBER], [[row * 2 for row in behind[:2]]])

    @pytest.mark.slow
    def test_are_exact_to_the_nanosecond(
        self, server: SnowflakeServer, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sql_adapter, "MAX_BILLED_ROWS", 2)
        server.run = self.run

        messages: list[StreamMessage] = []
        with adapter_of(model, server) as adapter:
            for _ in range(4):
                messages += adapter.poll(0)
                adapter._look_at = 0

        assert [json.loads(message.value or b"")["N"] for message in messages] == [1, 2, 3, 4, 5]
        assert {message.time_us for message in messages} == {int(TEN.timestamp()) * 1_000_000}

    @pytest.mark.parametrize("kind", ["REAL", "DECFLOAT"])
    def test_are_refused_where_they_are_not_exact(self, server: SnowflakeServer, kind: str) -> None:
        place = {"name": "UPDATED_AT", "type": kind}
        server.run = lambda _: Result([place, place, place], [[["1.5", "1.5", "1.5"]]])

        with pytest.raises(ConnectorFailed, match="type float cannot be a watermark or a key"):
            sample_rows(settings_of(server, lag_seconds=0), pem(), messages=5, seconds=30)

    def test_are_read_on_where_a_page_ends_by_time(
        self, server: SnowflakeServer, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sql_adapter, "MAX_PAGE_SECONDS", 0)
        server.run = self.run

        with adapter_of(model, server) as adapter:
            pages = [adapter.poll(0) for _ in range(3)]

        assert [[json.loads(one.value or b"")["N"] for one in page] for page in pages] == [[1], [2], []]


class TestSettings:
    def test_of_snowflake_are_accepted(self) -> None:
        settings = settings_of(role="READER", table="T" * 255, schema_name="S" * 255)

        check_sql(settings)

        assert settings.server_port() == 443

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"schema_name": ""}, "Name the schema"),
            ({"warehouse": ""}, "Name the warehouse"),
            ({"interval_seconds": 59}, "Snowflake bills each look"),
            ({"ca_certificate": "PEM"}, "authorities of the system"),
            ({"host": "169.254.169.254"}, "must not be reached"),
            ({"host": "evil.example.com/path"}, "must not be reached"),
            ({"engine": "postgresql"}, "belongs to Snowflake"),
            ({"engine": "postgresql", "warehouse": "", "role": "READER"}, "belongs to Snowflake"),
        ],
    )
    def test_that_could_never_work_are_refused(self, changes: dict[str, Any], reason: str) -> None:
        with pytest.raises(Problem, match=reason):
            check_sql(settings_of(**changes))

    def test_of_other_engines_have_no_role(self) -> None:
        with pytest.raises(Problem) as refused:
            check_sql(settings_of(engine="postgresql", warehouse="", role="READER"))

        assert refused.value.errors[0].pointer == "/settings/role"

    def test_may_name_an_address_of_ipv6(self, settings: Any) -> None:
        settings.OUTBOUND_ALLOW = ["::1/128"]
        database = open_database(settings_of(host="::1", port=4_430, tls="none"), pem())
        settings.OUTBOUND_ALLOW = []

        with pytest.raises(ConnectorFailed, match="blocked_address"):
            list(database.read(MANY))

    def test_without_a_key_say_which_is_needed(self, server: SnowflakeServer) -> None:
        with pytest.raises(ConnectorFailed, match="private key of the user is needed"):
            open_database(settings_of(server), "")

    @pytest.mark.parametrize(
        "key",
        [
            "no key",
            pem_of(ec.generate_private_key(ec.SECP256R1())),
            rsa.generate_private_key(65537, 2048)
            .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
            .decode(),
            "x" * 10_000,
        ],
        ids=["text", "elliptic curve", "encrypted", "long"],
    )
    def test_with_another_key_are_refused(self, server: SnowflakeServer, key: str) -> None:
        with pytest.raises(ConnectorFailed, match="no private key of RSA, as PEM and not encrypted"):
            open_database(settings_of(server), key)

    def test_with_the_key_of_another_user_say_what_to_check(self, server: SnowflakeServer) -> None:
        for changes in ({"user": "eve"}, {}):
            key = pem() if changes else pem_of(rsa.generate_private_key(65537, 2048))
            with pytest.raises(
                ConnectorFailed, match=r"cannot be read: 401 JWT token is invalid\. Check the account"
            ):
                list(open_database(settings_of(server, **changes), key).read(MANY))
        assert server.statements == []

    @pytest.mark.parametrize(
        ("host", "account"),
        [
            ("acme-main.snowflakecomputing.com", "ACME-MAIN"),
            ("xy12345.snowflakecomputing.com", "XY12345"),
            ("xy12345.us-east-2.aws.snowflakecomputing.com", "XY12345"),
            ("acme-main.privatelink.snowflakecomputing.com", "ACME-MAIN"),
            ("xy12345.us-east-1.privatelink.snowflakecomputing.com", "XY12345"),
            ("acme-sales.global.snowflakecomputing.com", "ACME"),
        ],
    )
    def test_name_the_account_by_the_host(self, host: str, account: str) -> None:
        assert account_of(host) == account
