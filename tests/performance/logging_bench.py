"""The logging API beside bare COPY, both end to end: `python -m tests.performance.logging_bench [--json PATH]`.

Both start from the same JSON batches and end with rows that are durable in the same PostgreSQL, over as many
connections, one commit a batch. Ours is `POST /api/v1/models/{model}/predictions` on `manage.py serve`: it checks
every item, refuses doubles, tells conflicts apart and marks the hours that must be computed. `arrow N` sends it the
same rows, under other ids, as Arrow IPC streams of N rows each: whoever has columns sends larger bodies. The peer only
decodes the JSON and writes it as binary COPY, encoded by NumPy, into one wide table. Every answer is checked, and the
rows are counted afterwards. Rounds are interleaved and ratios pair runs of one round.
"""

import argparse
import http.client
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from driftline.base.ids import new_id
from driftline.operations.services.postgres import connect
from tests.performance.contenders import Contender as ServerProcesses
from tests.performance.installation import Installed, installation

FEATURES = [f"feature_{place:02}" for place in range(30)]
MODEL = "logged"
POSTGRES_EPOCH = np.datetime64("2000-01-01T00:00:00", "us")
SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
LAST = b"\xff\xff"


# -- what is sent ------------------------------------------------------------------------------------------------------
def write_batches(count: int, rows: int, rng: np.random.Generator) -> list[bytes]:
    """Write JSON batches of fresh predictions, each of ten minutes that lie within the last day."""
    now = np.datetime64(time.time_ns() // 1000, "us")
    batches = []
    for _ in range(count):
        start = now - rng.integers(600_000_000, 86_400_000_000).astype("m8[us]")
        times = start + np.sort(rng.integers(0, 600_000_000, rows)).astype("m8[us]")
        values = rng.normal(size=(rows, len(FEATURES))).round(6)
        latencies = rng.gamma(2.0, 2.0, rows).round(3)
        items = [
            {
                "id": new_id(),
                "timestamp": f"{times[row]}Z",
                "version": "1",
                "features": dict(zip(FEATURES, values[row].tolist(), strict=True)),
                "prediction": str(int(values[row, 0] > 0)),
                "latency_ms": float(latencies[row]),
            }
            for row in range(rows)
        ]
        batches.append(json.dumps({"predictions": items}, separators=(",", ":")).encode())
    return batches


def as_arrow(batches: Sequence[bytes]) -> bytes:
    """Write the rows of JSON batches as an Arrow IPC stream, under ids that no other contender's rows have."""
    rows = [row for batch in batches for row in json.loads(batch)["predictions"]]
    names = ("timestamp", "version", "prediction", "latency_ms")
    columns: dict[str, list[Any]] = {"id": [new_id() for _ in rows]}
    columns |= {name: [row[name] for row in rows] for name in names}
    columns |= {name: [row["features"][name] for row in rows] for name in FEATURES}
    table, sink = pa.table(columns), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


# -- ours --------------------------------------------------------------------------------------------------------------
class _Counted(msgspec.Struct):
    accepted: int
    duplicates: int
    rejected: int


class LoggingApi:
    """One keep-alive connection to the API."""

    media_type = "application/json"

    def __init__(self, installed: Installed, rows: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", installed.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {installed.token}", "Content-Type": self.media_type}
        self._wanted = _Counted(rows, 0, 0)
        self._counts = msgspec.json.Decoder(_Counted)

    def send(self, batch: bytes) -> None:
        self._connection.request("POST", f"/api/v1/models/{MODEL}/predictions", batch, self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200 or response.headers["Driftline-Log"] != "committed":
            raise AssertionError(f"The batch was answered by {response.status}: {answer[:500]!r}")
        if (counts := self._counts.decode(answer)) != self._wanted:
            raise AssertionError(f"The batch was answered by {counts}, not by {self._wanted}.")

    def close(self) -> None:
        self._connection.close()


class ArrowApi(LoggingApi):
    """One that sends Arrow IPC streams."""

    media_type = "application/vnd.apache.arrow.stream"


def create_model(installed: Installed) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", installed.port, timeout=60)
    body = json.dumps({"name": MODEL, "task": "binary"})
    headers = {"Authorization": f"Bearer {installed.token}", "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/models", body, headers)
    response = connection.getresponse()
    answer = response.read()
    if response.status != 201:
        raise AssertionError(f"The model was answered by {response.status}: {answer[:500]!r}")
    connection.close()


# -- the peer ----------------------------------------------------------------------------------------------------------
_Features = msgspec.defstruct("_Features", [(name, float) for name in FEATURES])


class _Prediction(msgspec.Struct):
    id: str
    timestamp: str
    version: str
    features: _Features  # type: ignore[valid-type]
    prediction: str
    latency_ms: float


class _Batch(msgspec.Struct):
    predictions: list[_Prediction]


class BareCopy:
    """One database connection that copies batches into the wide table, each in a commit of its own."""

    TABLE = (
        "CREATE TABLE IF NOT EXISTS wide (id text PRIMARY KEY, model bigint, version text, ts timestamptz, "
        + ", ".join(f"{name} double precision" for name in FEATURES)
        + ", prediction text, latency_ms double precision);"
        "CREATE INDEX IF NOT EXISTS wide_model_ts ON wide (model, ts)"
    )

    def __init__(self, installed: Installed, rows: int) -> None:
        self._connection = connect(installed.paths)
        self._decoder = msgspec.json.Decoder(_Batch)
        self._rows = rows

    def send(self, batch: bytes) -> None:
        stream = io.BytesIO(encode_copy(self._decoder.decode(batch).predictions))
        with self._connection, self._connection.cursor() as cursor:
            cursor.copy_expert("COPY wide FROM STDIN (FORMAT binary)", stream)
            if cursor.rowcount != self._rows:
                raise AssertionError(f"COPY wrote {cursor.rowcount} rows, not {self._rows}.")

    def close(self) -> None:
        self._connection.close()


def encode_copy(rows: Sequence[_Prediction]) -> bytes:
    """Write rows as binary COPY: texts of one column are equally long here, so a row is one NumPy record."""
    texts = {
        "id": np.array([row.id for row in rows], "S"),
        "version": np.array([row.version for row in rows], "S"),
        "prediction": np.array([row.prediction for row in rows], "S"),
    }
    times = np.array([row.timestamp[:-1] for row in rows], "M8[us]") - POSTGRES_EPOCH
    records = np.empty(len(rows), _record(*(column.dtype for column in texts.values())))
    records["fields"] = len(FEATURES) + 6
    for name, column in texts.items():
        records[f"{name}_length"], records[name] = column.itemsize, column
    records["model_length"] = records["ts_length"] = records["latency_length"] = 8
    records["model"], records["ts"] = 1, times.astype(np.int64)
    records["values"]["length"] = 8
    records["values"]["value"] = [msgspec.structs.astuple(row.features) for row in rows]
    records["latency"] = [row.latency_ms for row in rows]
    return SIGNATURE + records.tobytes() + LAST


def _record(id_: np.dtype[Any], version: np.dtype[Any], prediction: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(
        [
            ("fields", ">i2"),
            *(("id_length", ">i4"), ("id", id_)),
            *(("model_length", ">i4"), ("model", ">i8")),
            *(("version_length", ">i4"), ("version", version)),
            *(("ts_length", ">i4"), ("ts", ">i8")),
            ("values", [("length", ">i4"), ("value", ">f8")], (len(FEATURES),)),
            *(("prediction_length", ">i4"), ("prediction", prediction)),
            *(("latency_length", ">i4"), ("latency", ">f8")),
        ]
    )


# -- measuring ---------------------------------------------------------------------------------------------------------
type _Connection = LoggingApi | BareCopy
type _Write = Callable[[Sequence[bytes]], list[bytes]]


@dataclass
class Contender:
    """Connections of one kind, and for each round its rows a second and the processor time of a row."""

    name: str
    connections: Sequence[_Connection]
    processor: Callable[[], dict[str, float]]  # seconds that client, server and database have used
    write: _Write  # JSON batches as this contender takes them, before the clock runs
    rates: list[float] = field(default_factory=list)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)

    def run(self, batches: list[bytes], rows: int) -> None:
        """Send the batches, which hold so many rows together, over all connections at once."""
        bodies = self.write(batches)
        shares = [bodies[place :: len(self.connections)] for place in range(len(self.connections))]
        with ThreadPoolExecutor(len(self.connections)) as threads:
            used, began = self.processor(), time.perf_counter()
            list(threads.map(_send_all, self.connections, shares))
            elapsed, total = time.perf_counter() - began, self.processor()
        self.rates.append(rows / elapsed)
        for part, seconds in total.items():
            self.cpu_us.setdefault(part, []).append((seconds - used[part]) * 1e6 / rows)


def _send_all(connection: _Connection, bodies: list[bytes]) -> None:
    for body in bodies:
        connection.send(body)


def _contenders(
    installed: Installed, *, rows: int, arrow_rows: Sequence[int], connections: int
) -> list[Contender]:
    servers = [
        ServerProcesses(name, installed.port, pid)
        for name, pid in (("web", installed.server_pid), ("database", installed.database_pid))
    ]

    def processor() -> dict[str, float]:
        return {"client": time.process_time()} | {server.name: server.cpu_seconds() for server in servers}

    def contender(name: str, kind: type[_Connection], size: int, write: _Write) -> Contender:
        return Contender(name, [kind(installed, size) for _ in range(connections)], processor, write)

    return [
        contender("driftline", LoggingApi, rows, list),
        *(contender(f"arrow {size}", ArrowApi, size, _in_arrow(size // rows)) for size in arrow_rows),
        contender("copy", BareCopy, rows, list),
    ]


def _in_arrow(together: int) -> _Write:
    return lambda batches: [
        as_arrow(batches[start : start + together]) for start in range(0, len(batches), together)
    ]


def measure(
    installed: Installed, *, rounds: int, batches: int, rows: int, arrow_rows: Sequence[int], connections: int
) -> dict[str, Any]:
    """Log fresh batches through all, round after round, after one round that only warms; then count the rows."""
    with connect(installed.paths) as database, database.cursor() as cursor:
        cursor.execute(BareCopy.TABLE)
    contenders = _contenders(installed, rows=rows, arrow_rows=arrow_rows, connections=connections)
    rng = np.random.default_rng(20130101)
    for number in range(rounds + 1):
        fresh = write_batches(batches, rows, rng)
        for contender in contenders if number % 2 else reversed(contenders):
            contender.run(fresh, batches * rows)
    for contender in contenders:
        for connection in contender.connections:
            connection.close()
    total = (rounds + 1) * batches * rows
    check_rows(installed, total, logged=total * (len(contenders) - 1))
    ours, *arrows, peer = contenders
    return {
        "rows_a_batch": rows,
        "connections": connections,
        "rows": total,
        "rows_per_s": {contender.name: _spread(contender.rates[1:]) for contender in contenders},
        "cpu_us_a_row": {
            contender.name: {part: _spread(used[1:]) for part, used in contender.cpu_us.items()}
            for contender in contenders
        },
        "ratio": _ratio(ours, peer),
        "arrow_ratio": {arrow.name: _ratio(arrow, ours) for arrow in arrows},
        "bytes_a_row": stored_bytes(installed, {"driftline": total * (len(contenders) - 1), "copy": total}),
        "load_average": os.getloadavg()[0],
    }


def _ratio(one: Contender, other: Contender) -> dict[str, float]:
    """Compare the runs of each round but the first."""
    return _spread([own / theirs for own, theirs in zip(one.rates[1:], other.rates[1:], strict=True)])


def check_rows(installed: Installed, total: int, *, logged: int) -> None:
    """Count what was stored: in the narrow rows, in the chunks, and in the wide table."""
    counts = {
        "narrow rows": ("SELECT count(*) FROM inference_predictionrow", logged),
        "rows in chunks": ("SELECT sum(rows) FROM inference_predictionchunk", logged),
        "wide rows": ("SELECT count(*) FROM wide", total),
    }
    with connect(installed.paths) as database, database.cursor() as cursor:
        for what, (query, wanted) in counts.items():
            cursor.execute(query)
            if (found := cursor.fetchone()[0]) != wanted:
                raise AssertionError(f"There are {found:,} {what}, and {wanted:,} were acknowledged.")


def stored_bytes(installed: Installed, rows: dict[str, int]) -> dict[str, float]:
    """Give the bytes a row with indexes, as they lie after the run (no chunk is merged yet)."""
    tables = {"driftline": ["inference_predictionrow", "inference_predictionchunk"], "copy": ["wide"]}
    with connect(installed.paths) as database, database.cursor() as cursor:
        sizes = {}
        for name, parts in tables.items():
            cursor.execute(
                "SELECT sum(coalesce((SELECT sum(pg_total_relation_size(relid)) "
                "FROM pg_partition_tree(part::regclass)), pg_total_relation_size(part::regclass))) "
                "FROM unnest(%s) AS part",
                [parts],
            )
            sizes[name] = round(float(cursor.fetchone()[0]) / rows[name], 1)
        return sizes


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "runs": len(values),
    }


def show(results: dict[str, Any]) -> None:
    print(
        f"\nlogging API: batches of {results['rows_a_batch']} rows x {len(FEATURES)} features, "
        f"{results['connections']} connection(s), {results['rows']:,} rows each"
    )
    for name, rate in results["rows_per_s"].items():
        used = {part: spread["median"] for part, spread in results["cpu_us_a_row"][name].items()}
        print(
            f"  {name:<12}{rate['median']:>10,.0f} rows/s [{rate['min']:,.0f}-{rate['max']:,.0f}, "
            f"{rate['runs']} runs]  {sum(used.values()):.1f} us of CPU a row: "
            + ", ".join(f"{part} {us:.1f}" for part, us in used.items())
        )
    for name, ratio in results["arrow_ratio"].items():
        print(f"  {name} is {_shown(ratio)} of JSON")
    print(f"  ours is {_shown(results['ratio'])} of bare COPY")
    stored = results["bytes_a_row"]
    print(f"  {stored['driftline']:.0f} bytes a row, bare COPY {stored['copy']:.0f}")


def _shown(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f}x [{ratio['min']:.2f}-{ratio['max']:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=160, help="a round")
    parser.add_argument("--rows", type=int, default=500, help="a batch")
    parser.add_argument(
        "--arrow-rows", type=int, nargs="*", default=[500, 10_000], help="an Arrow body: whole batches"
    )
    parser.add_argument("--connections", type=int, nargs="*", default=[4])
    options = parser.parse_args()
    for size in options.arrow_rows:
        if size % options.rows or options.batches * options.rows % size:
            parser.error(f"--arrow-rows {size} must be whole batches, and a round whole bodies")
    results = []
    for connections in options.connections:
        with (
            tempfile.TemporaryDirectory(prefix="driftline-bench-") as folder,
            installation(Path(folder)) as installed,
        ):
            create_model(installed)
            results.append(
                measure(
                    installed,
                    rounds=options.rounds,
                    batches=options.batches,
                    rows=options.rows,
                    arrow_rows=options.arrow_rows,
                    connections=connections,
                )
            )
            show(results[-1])
    if options.json:
        options.json.write_text(json.dumps({"logging": results}, indent=2))


if __name__ == "__main__":
    main()
