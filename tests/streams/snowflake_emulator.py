"""Runs statements by fakesnow, an emulator of Snowflake over DuckDB, in an environment of its own.

python snowflake_emulator.py PORT

Each POST has a statement and its bindings as Snowflake's SQL API takes them; the answer has the columns and rows as
that API writes them, or with 422 what is wrong.
"""

import json
import sys
import warnings
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import fakesnow
import snowflake.connector
from snowflake.connector.constants import FIELD_ID_TO_NAME
from snowflake.connector.errors import Error

MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DATABASE, SCHEMA = "LOANS", "PUBLIC"


def main(port: int) -> None:
    warnings.simplefilter("ignore")
    snowflake.connector.paramstyle = "qmark"
    with fakesnow.patch():
        connection = snowflake.connector.connect(
            account="tests", user="tests", password="tests", database=DATABASE, schema=SCHEMA
        )

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                try:
                    status, document = 200, run(connection, body)
                except Error as error:
                    status, document = 422, {"message": str(error)}
                answer = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        HTTPServer(("127.0.0.1", port), Handler).serve_forever()


def run(connection: Any, body: dict[str, Any]) -> dict[str, Any]:
    """Run a statement, and return its columns and rows."""
    bindings = body.get("bindings", {})
    values = [read_binding(**bindings[str(n)]) for n in range(1, len(bindings) + 1)]
    with connection.cursor() as cursor:
        cursor.execute(body["statement"], values or None)
        columns = [
            {"name": column.name, "type": FIELD_ID_TO_NAME[column.type_code], "scale": column.scale}
            for column in cursor.description
        ]
        rows = cursor.fetchall()
    return {"columns": columns, "rows": [[write_value(value) for value in row] for row in rows]}


def read_binding(type: str, value: str) -> Any:
    match type:
        case "FIXED":
            return Decimal(value) if "." in value else int(value)
        case "DATE":
            return (EPOCH + timedelta(milliseconds=int(value))).date()
        case "TIMESTAMP_NTZ":
            return (EPOCH + int(value) // 1_000 * MICROSECOND).replace(tzinfo=None)
        case "TIMESTAMP_LTZ":
            return EPOCH + int(value) // 1_000 * MICROSECOND
        case "BINARY":
            return bytes.fromhex(value)
    return value


def write_value(value: Any) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return str(value).lower()
        case bytes():
            return value.hex().upper()
        case datetime() if value.tzinfo is None:
            return seconds_of(value.replace(tzinfo=UTC) - EPOCH)
        case datetime():
            return f"{seconds_of(value - EPOCH)} 1440"  # fakesnow keeps no offsets
        case date():
            return str((value - EPOCH.date()).days)
        case time():
            return seconds_of(datetime.combine(date.min, value) - datetime.min)
    return str(value)


def seconds_of(since: timedelta) -> str:
    return f"{since // timedelta(seconds=1)}.{since % timedelta(seconds=1) // MICROSECOND:06}000"


if __name__ == "__main__":
    main(int(sys.argv[1]))
