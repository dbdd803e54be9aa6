"""Statements for BigQuery are of its dialect, and hostile answers and keys are refused.

tests/streams/test_tables.py asks an emulator of another process.
"""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from driftline.base.errors import Problem
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.services import create_source
from inference.prediction_log.sources.sql import adapter as sql_adapter
from inference.prediction_log.sources.sql import bigquery
from inference.prediction_log.sources.sql.adapter import SqlAdapter, sample_rows
from inference.prediction_log.sources.sql.bigquery import SCOPE
from inference.prediction_log.sources.sql.database import Database
from inference.prediction_log.sources.sql.opening import open_database
from inference.prediction_log.sources.sql.queries import Query, TableQueries
from inference.prediction_log.sources.sql.rows import Unreadable
from inference.prediction_log.sources.sql.settings import SqlSettings, check_sql
from inference.registry.models import Model
from tests.inference.prediction_log.sources.google_server import EMAIL, GoogleServer

ONE = Query("SELECT 1", max_rows=1_000)
JOB = {"projectId": "a-project", "jobId": "a job/1", "location": "EU"}
BASE = {"jobComplete": True, "schema": {"fields": [{"name": "n", "type": "INTEGER"}]}}
ROW = {"f": [{"v": "1"}]}


@pytest.fixture
def server(settings: Any) -> Iterator[GoogleServer]:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    with GoogleServer(scope=SCOPE) as running:
        yield running


def settings_of(server: GoogleServer | None = None, **changes: Any) -> SqlSettings:
    where: dict[str, Any] = {
        "engine": "bigquery",
        "host": "bigquery.googleapis.com",
        "database": "a-project",
        "schema_name": "loans",
        "user": EMAIL,
        "table": "scores",
        "watermark": "updated_at",
        "keys": ["id"],
        "interval_seconds": 60,
    }
    if server is not None:
        where |= {"host": "127.0.0.1", "port": server.port, "tls": "none"}
    return SqlSettings.model_validate(where | changes)


def opened(server: GoogleServer, **changes: Any) -> Database:
    return open_database(settings_of(server, **changes), server.key())


def read(server: GoogleServer, document: Any) -> list[Any]:
    """Return the values of the first column that this answer has."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    server.answers["query"] = 200, body, {}
    return [row[0] for _, row in opened(server).read(ONE)]


def value_of(server: GoogleServer, field: dict[str, Any], cell: Any) -> Any:
    document = BASE | {"schema": {"fields": [{"name": "n", **field}]}, "rows": [{"f": [{"v": cell}]}]}
    [found] = read(server, document)
    return found


class TestStatements:
    def test_name_the_project_and_the_dataset_and_each_column_once(self) -> None:
        page = TableQueries(settings_of(lag_seconds=60)).page(None, 5)

        assert page == Query(
            "SELECT *, `updated_at` AS driftline_place_0, `id` AS driftline_place_1 "
            "FROM `a-project`.`loans`.`scores` WHERE `updated_at` IS NOT NULL AND `id` IS NOT NULL AND "
            "CAST(`updated_at` AS TIMESTAMP) < TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 60 SECOND) "
            "ORDER BY `updated_at`, `id` LIMIT 5",
            [],
            max_rows=5,
            min_columns=3,
        )

    def test_compare_places_column_by_column(self) -> None:
        queries = TableQueries(settings_of(keys=["a", "b"], lag_seconds=0))

        where = queries.count_beyond([1, "x", "y"], 9)

        assert (
            "`updated_at` >= ? AND (`updated_at` > ? OR (`updated_at` = ? AND (`a` > ? OR (`a` = ? AND `b` > ?))))"
            in where.text
        )
        assert list(where.values) == [1, 1, 1, "x", "x", "y"]

    def test_wait_for_the_end_of_a_day(self) -> None:
        queries = TableQueries(settings_of(lag_seconds=0))
        queries.is_by_day = True

        text = queries.page(None, 5).text

        settled = "TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 0 SECOND)"
        assert f"`updated_at` < CAST({settled} AS date)" in text

    def test_quote_names_that_would_end_them(self) -> None:
        queries = TableQueries(settings_of(table="a` WHERE 1=1 -- \\", columns=["100%"]))

        text = queries.page(None, 5).text

        assert "`a\\` WHERE 1=1 -- \\\\`" in text
        assert text.startswith("SELECT `100%`, ")

    def test_send_each_part_of_a_place_with_its_type(self, server: GoogleServer) -> None:
        sent = [bigquery._parameter_of(value) for value in (
            -7, Decimal("1E+3"), "a'", b"raw", date(2026, 1, 5), datetime(2026, 1, 5, 10),
            datetime(2026, 1, 5, 10, tzinfo=UTC),
        )]  # fmt: skip

        assert [(one["parameterType"]["type"], one["parameterValue"]["value"]) for one in sent] == [
            ("INT64", "-7"),
            ("BIGNUMERIC", "1000"),
            ("STRING", "a'"),
            ("BYTES", "cmF3"),
            ("DATE", "2026-01-05"),
            ("DATETIME", "2026-01-05T10:00:00"),
            ("TIMESTAMP", "2026-01-05T10:00:00+00:00"),
        ]


class TestAnswers:
    @pytest.mark.parametrize(
        ("field", "cell", "value"),
        [
            ({"type": "INTEGER"}, "-7", -7),
            ({"type": "FLOAT"}, "1.5", 1.5),
            ({"type": "NUMERIC"}, "41.50", Decimal("41.50")),
            ({"type": "BOOLEAN"}, "false", False),
            ({"type": "BYTES"}, "cmF3", b"raw"),
            ({"type": "TIMESTAMP"}, "1767607200123456", datetime(2026, 1, 5, 10, 0, 0, 123456, UTC)),
            ({"type": "TIMESTAMP"}, "9" * 20, Unreadable("9" * 20)),
            ({"type": "DATE"}, "2026-01-05", date(2026, 1, 5)),
            ({"type": "DATETIME"}, "2026-01-05T10:00:00.5", datetime(2026, 1, 5, 10, 0, 0, 500_000)),
            ({"type": "GEOGRAPHY"}, "POINT(1 2)", "POINT(1 2)"),
            ({"type": "INTEGER"}, None, None),
            ({"type": "INTEGER", "mode": "REPEATED"}, [{"v": "1"}, {"v": "2"}], [1, 2]),
            (
                {"type": "RECORD", "fields": [{"name": "a", "type": "DATE"}]},
                {"f": [{"v": None}]},
                {"a": None},
            ),
        ],
    )
    def test_become_values_by_their_types(
        self, server: GoogleServer, field: dict[str, Any], cell: Any, value: Any
    ) -> None:
        assert value_of(server, field, cell) == value

    @pytest.mark.parametrize(
        ("field", "cell"),
        [
            ({"type": "INTEGER"}, "many"),
            ({"type": "INTEGER"}, 7),
            ({"type": "INTEGER"}, "9" * 5_000),
            ({"type": "NUMERIC"}, "ten"),
            ({"type": "NUMERIC"}, "1e3000000000"),
            ({"type": "NUMERIC"}, "1e-400"),
            ({"type": "BIGNUMERIC"}, "NaN"),
            ({"type": "BIGNUMERIC"}, "0." + "1" * 500),
            ({"type": "BOOLEAN"}, "yes"),
            ({"type": "BYTES"}, "no base64"),
            ({"type": "TIMESTAMP"}, "1.7676072E9"),
            ({"type": "DATE"}, "today"),
            ({"type": "INTEGER", "mode": "REPEATED"}, [1]),
            ({"type": "INTEGER", "mode": "REPEATED"}, "1"),
            ({"type": "RECORD", "fields": []}, {"f": [{"v": "1"}]}),
            ({"type": "RECORD", "fields": []}, "text"),
        ],
    )
    def test_are_refused_where_a_value_is_not_of_its_type(
        self, server: GoogleServer, field: dict[str, Any], cell: Any
    ) -> None:
        with pytest.raises(ConnectorFailed, match="none of BigQuery"):
            value_of(server, field, cell)

    @pytest.mark.parametrize(
        "document",
        [
            b"",
            b"<html>",
            b"[" * 100_000,
            {},
            {"jobComplete": "yes"},
            BASE | {"rows": {}},
            BASE | {"rows": [{"f": []}]},
            BASE | {"rows": [ROW, {"f": [{"v": "1"}, {"v": "2"}]}]},
            BASE | {"rows": [ROW], "pageToken": "2"},
            BASE | {"rows": [], "pageToken": "2", "jobReference": JOB},
            BASE | {"schema": {}, "rows": [{"f": []}]},
            {"jobComplete": False},
            BASE | {"schema": {"fields": [{"name": "n"}]}},
        ],
    )
    def test_are_refused_where_they_are_none(self, server: GoogleServer, document: Any) -> None:
        with pytest.raises(ConnectorFailed, match="none of BigQuery"):
            read(server, document)

    def test_are_refused_where_they_are_longer_than_any(
        self, server: GoogleServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bigquery, "MAX_ANSWER_BYTES", 100)

        with pytest.raises(ConnectorFailed, match="longer than a page of rows"):
            read(server, BASE | {"rows": [ROW] * 100})

    def test_of_long_jobs_are_asked_for_until_they_end(
        self, server: GoogleServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bigquery, "PAUSE_SECONDS", 0)
        server.answers["results"] = 200, json.dumps(BASE | {"rows": [ROW]}).encode(), {}

        assert read(server, {"jobComplete": False, "jobReference": JOB}) == [1]
        path, _ = server.requests[-1]
        assert path.startswith("/bigquery/v2/projects/a-project/queries/a%20job%2F1?")
        assert "location=EU" in path

    def test_that_come_too_late_are_said(self, server: GoogleServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bigquery, "PAUSE_SECONDS", 0)
        monkeypatch.setattr(bigquery, "STATEMENT_SECONDS", 0)

        with pytest.raises(ConnectorFailed, match="did not answer in time"):
            read(server, {"jobComplete": False, "jobReference": JOB})

    def test_of_jobs_that_would_take_or_cost_too_much_are_never_made(self, server: GoogleServer) -> None:
        server.answers["query"] = 200, json.dumps(BASE | {"rows": [ROW]}).encode(), {}

        list(opened(server, max_gib_billed=2).read(ONE))

        sent = json.loads(server.bodies[-1])
        assert (sent["jobTimeoutMs"], sent["maximumBytesBilled"]) == ("30000", str(2 << 30))
        assert sent["timeoutMs"] < 15_000  # of silence, after which a connection is ended

    def test_end_with_the_rows_that_were_asked_for(self, server: GoogleServer) -> None:
        server.answers["query"] = 200, json.dumps(BASE | {"rows": [ROW] * 5}).encode(), {}

        assert len(list(opened(server).read(Query("SELECT 1", max_rows=2)))) == 2

    def test_with_fewer_columns_than_a_place_are_refused_in_a_preview(self, server: GoogleServer) -> None:
        server.answers["query"] = 200, json.dumps(BASE | {"rows": [ROW]}).encode(), {}

        with pytest.raises(ConnectorFailed, match="none of BigQuery"):
            sample_rows(settings_of(server, lag_seconds=0), server.key(), messages=5, seconds=30)

    def test_that_count_nothing_are_refused(self, server: GoogleServer) -> None:
        server.answers["query"] = 200, json.dumps(BASE).encode(), {}

        with pytest.raises(ConnectorFailed, match="none of BigQuery"):
            opened(server).count(ONE)

    def test_lead_nowhere_else(self, server: GoogleServer) -> None:
        server.answers["query"] = 307, b"", {"Location": f"{server.url}/elsewhere"}

        with pytest.raises(ConnectorFailed, match="cannot be read: 307"):
            list(opened(server).read(ONE))
        assert len(server.requests) == 1

    def test_that_refuse_are_said_with_their_reason_alone(self, server: GoogleServer) -> None:
        refusal = {"error": {"message": "Access Denied: " + "x" * 1_000, "status": "secret"}}
        server.answers["query"] = 403, json.dumps(refusal).encode(), {}

        with pytest.raises(ConnectorFailed) as caught:
            list(opened(server).read(ONE))

        assert str(caught.value) == f"The database cannot be read: 403 Access Denied: {'x' * 285}"

    def test_that_refuse_a_token_have_another_asked_for(self, server: GoogleServer) -> None:
        database = opened(server)
        for tokens in (1, 2):
            server.answers["query"] = 401, b"{}", {}
            with pytest.raises(ConnectorFailed, match="cannot be read: 401"):
                list(database.read(ONE))
            assert len(server.tokens) == tokens


class TestStatementsAreBilled:
    """So few are sent: one for many pages, and none before the interval has passed."""

    @pytest.fixture
    def adapter(
        self, server: GoogleServer, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[SqlAdapter]:
        monkeypatch.setattr(sql_adapter, "PAGE", 2)
        monkeypatch.setattr(sql_adapter, "MAX_BILLED_ROWS", 5)
        monkeypatch.setattr(sql_adapter, "COUNT_SECONDS", 1e9)
        settings = settings_of(server, lag_seconds=0)
        source = create_source(
            project=model.project, model=model, actor="ada", name="table", what="predictions", settings=settings,
            mapping=SourceMapping(default_version="1"), secret=server.key(),
        )  # fmt: skip
        waits: list[float] = []
        with SqlAdapter(source.pk, settings, server.key(), wait=waits.append) as adapter:
            yield adapter

    def answer(self, server: GoogleServer, rows: int) -> None:
        fields = [{"name": name, "type": "INTEGER"} for name in ("id", "place_0", "place_1")]
        listed = [{"f": [{"v": str(n)}] * 3} for n in range(rows)]
        document = {"jobComplete": True, "schema": {"fields": fields}, "rows": listed}
        server.answers["query"] = 200, json.dumps(document).encode(), {}

    def statements(self, server: GoogleServer) -> list[str]:
        """Return the statements that read rows, each with its columns."""
        return [sql for body in server.bodies if "driftline_place_0" in (sql := json.loads(body)["query"])]

    def test_pages_are_of_one_statement(self, server: GoogleServer, adapter: SqlAdapter) -> None:
        self.answer(server, 4)

        pages = [len(adapter.poll(0)) for _ in range(4)]

        assert pages == [2, 2, 0, 0]
        assert len(self.statements(server)) == 1
        assert adapter.ends() == {adapter._partition: 4}

    def test_a_full_statement_is_followed_by_one_after_the_interval(
        self, server: GoogleServer, adapter: SqlAdapter
    ) -> None:
        self.answer(server, 9)

        pages = [len(adapter.poll(0)) for _ in range(5)]
        adapter._look_at = 0

        assert pages == [2, 2, 1, 0, 0]
        assert len(adapter.poll(0)) == 2
        assert len(self.statements(server)) == 2

    def test_one_that_fails_is_said_and_not_sent_again_at_once(
        self, server: GoogleServer, adapter: SqlAdapter
    ) -> None:
        server.answers["query"] = 403, b'{"error": {"message": "Query exceeded limit for bytes billed"}}', {}

        assert [adapter.poll(0) for _ in range(3)] == [[], [], []]
        assert len(server.requests) == 1
        assert "exceeded limit for bytes billed" in adapter.trouble
        self.answer(server, 1)
        adapter._look_at = 0
        assert len(adapter.poll(0)) == 1
        assert adapter.trouble == ""


class TestSettings:
    def test_of_google_are_accepted(self) -> None:
        settings = settings_of()

        check_sql(settings)

        assert settings.server_port() == 443

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"schema_name": ""}, "Name the dataset"),
            ({"interval_seconds": 59}, "bills each look"),
            ({"ca_certificate": "PEM"}, "authorities of the system"),
            ({"host": "169.254.169.254"}, "must not be reached"),
            ({"host": "evil.example.com/path"}, "must not be reached"),
        ],
    )
    def test_that_could_never_work_are_refused(self, changes: dict[str, Any], reason: str) -> None:
        with pytest.raises(Problem, match=reason):
            check_sql(settings_of(**changes))

    def test_name_the_account_of_the_key(self, server: GoogleServer) -> None:
        with pytest.raises(ConnectorFailed, match=f"The key is one of {EMAIL}"):
            opened(server, user="ada@example.com")
        assert server.tokens == []

    def test_without_a_key_say_which_is_needed(self, server: GoogleServer) -> None:
        with pytest.raises(ConnectorFailed, match="JSON key of the service account is needed"):
            open_database(settings_of(server), "")

    def test_lead_nowhere_by_a_token_uri(self, server: GoogleServer) -> None:
        key = server.key(token_uri="http://169.254.169.254/token")

        with pytest.raises(ConnectorFailed, match="neither Google's nor at the endpoint"):
            open_database(settings_of(server), key)
