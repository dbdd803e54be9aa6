"""Predictions that come as columns are kept as JSON is; hostile columns are refused with reasons."""

import gzip
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
import zstandard

from driftline.base.clock import now
from driftline.base.http.uploads import MAX_BODY_BYTES
from driftline.base.periods import rfc3339
from inference.registry.models import Model
from tests.driftline.api.arrow_streams import FILE, STREAM, as_stream
from tests.driftline.api.conftest import Api

PATH = "/models/flights/predictions"
START = now().replace(microsecond=123_456) - timedelta(hours=1)


def items(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"flight-{place}",
            "timestamp": rfc3339(START + timedelta(seconds=place)),
            "version": "1",
            "features": {"age": place + 0.5, "carrier": "AB"[place % 2], "is_new": place % 2 == 0},
            "prediction": place % 2,
            "probabilities": 0.25,
            "latency_ms": 3.5,
            "tags": {"shop": "web"},
        }
        for place in range(count)
    ]


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    plain = ("id", "timestamp", "version", "prediction", "latency_ms")
    columns = {name: [row[name] for row in rows] for name in plain}
    columns |= {name: [row["features"][name] for row in rows] for name in rows[0]["features"]}
    columns["probability"] = [row["probabilities"] for row in rows]
    columns["tag_shop"] = [row["tags"]["shop"] for row in rows]
    return pa.table(columns)


def as_file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def send(api: Api, table: pa.Table, path: str = PATH, **headers: str) -> Any:
    return api.post(path, as_stream(table), content_type=STREAM, **headers)


def test_columns_are_kept_as_json_is(api: Api, flights: Model) -> None:
    answer = send(api, as_table(items(4))).json()

    assert (answer["accepted"], answer["rejected"]) == (4, 0)
    assert [result["id"] for result in answer["results"]] == [item["id"] for item in items(4)]
    again = api.post(PATH, {"predictions": items(4)}).json()
    assert (again["duplicates"], again["rejected"]) == (4, 0)
    found = api.get(f"{PATH}/flight-3").json()
    assert found["features"] == {"age": 3.5, "carrier": "B", "is_new": 0.0}


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        (STREAM, as_stream),
        (STREAM, lambda table: as_stream(table, "lz4")),
        (STREAM, lambda table: as_stream(table, "zstd")),
        (FILE, as_file),
        ("application/json", lambda _: orjson.dumps({"predictions": items(4)})),
        ("application/x-ndjson", lambda _: b"\n".join(map(orjson.dumps, items(4)))),
    ],
)
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("identity", bytes), ("gzip", gzip.compress), ("zstd", zstandard.ZstdCompressor().compress)],
)
def test_every_kind_comes_packed_or_plain(
    api: Api,
    flights: Model,
    kind: str,
    write: Callable[[pa.Table], bytes],
    encoding: str,
    pack: Callable[[bytes], bytes],
) -> None:
    body = pack(write(as_table(items(4))))

    answer = api.post(PATH, body, content_type=kind, content_encoding=encoding)

    assert (answer.status_code, answer.json()["accepted"]) == (200, 4)


@pytest.mark.parametrize("kind", [STREAM, FILE, "application/json", "application/x-ndjson"])
@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.ZstdCompressor().compress)]
)
def test_no_kind_unpacks_beyond_the_cap(
    api: Api, flights: Model, kind: str, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    answer = api.post(PATH, pack(b" " * (MAX_BODY_BYTES + 1)), content_type=kind, content_encoding=encoding)

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_types_that_mean_the_same_are_read_alike(api: Api, flights: Model) -> None:
    table = as_table(items(4))
    times = pa.array(
        [START + timedelta(seconds=place) for place in range(4)], pa.timestamp("ns", "Asia/Tokyo")
    )
    table = table.set_column(1, "timestamp", times)
    table = table.set_column(2, "version", table["version"].dictionary_encode())
    table = table.set_column(6, "carrier", table["carrier"].cast(pa.large_string()))
    api.post(PATH, {"predictions": items(4)})

    answer = send(api, pa.concat_tables([table.slice(0, 1), table.slice(1)])).json()

    assert answer["duplicates"] == 4


def test_a_bad_row_is_refused_at_its_place_and_the_others_are_kept(api: Api, flights: Model) -> None:
    rows = items(4)
    rows[1]["id"] = ""
    rows[2]["probabilities"] = 3.0

    answer = send(api, as_table(rows)).json()

    assert answer["accepted"] == 2
    assert [(found["index"], found["status"]) for found in answer["results"]] == [
        (0, "accepted"),
        (1, "rejected"),
        (2, "rejected"),
        (3, "accepted"),
    ]
    errors = [found["error"] for found in answer["results"][1:3]]
    assert [(error["code"], error["pointer"]) for error in errors] == [
        ("invalid_id", "/1/id"),
        ("invalid_probability", "/2/probability"),
    ]


def test_one_bad_row_refuses_an_atomic_request(api: Api, flights: Model) -> None:
    rows = items(2)
    rows[1]["latency_ms"] = -1.0

    answer = send(api, as_table(rows), f"{PATH}?atomic=true")

    assert answer.status_code == 422
    assert api.get(f"{PATH}/flight-0").status_code == 404


def test_a_clock_that_is_behind_is_corrected(api: Api, flights: Model) -> None:
    late = now() - timedelta(hours=2)
    rows = items(1)
    rows[0]["timestamp"] = rfc3339(late)
    table = as_table(rows).replace_schema_metadata({"sent_at": rfc3339(late)})

    answer = send(api, table).json()

    assert answer["warnings"][0]["code"] == "clock_skew"
    found = api.get(f"{PATH}/flight-0").json()
    assert abs(
        np.datetime64(found["timestamp"][:-1]) - np.datetime64(now().replace(tzinfo=None))
    ) < np.timedelta64(10, "m")


# -- hostile bodies ----------------------------------------------------------------------------------------------------
def refusal(api: Api, body: bytes) -> tuple[int, str, list[str]]:
    answer = api.post(PATH, body, content_type=STREAM)
    told = answer.json()
    assert answer.status_code != 200, told
    return answer.status_code, told["code"], [error["pointer"] for error in told["errors"]]


def replaced(name: str, values: pa.Array) -> pa.Table:
    table = as_table(items(4))
    return table.set_column(table.column_names.index(name), name, values)


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        (pa.array([[["a"]]] * 4), "/age"),
        (pa.array([{"a": 1}] * 4), "/age"),
        (pa.array([b"x"] * 4), "/age"),
        (pa.array([b"xy"] * 4, pa.binary(2)), "/age"),
        (pa.array([["a", "b"]] * 4, pa.list_(pa.string(), 2)), "/age"),
        (pa.array([[("a", 1)]] * 4, pa.map_(pa.string(), pa.int64())), "/age"),
        (pa.array([1, 2, 3, 4], pa.duration("s")), "/age"),
        (pa.RunEndEncodedArray.from_arrays([4], [1.5]), "/age"),
    ],
)
def test_types_that_no_feature_has_are_refused(
    api: Api, flights: Model, values: pa.Array, pointer: str
) -> None:
    assert refusal(api, as_stream(replaced("age", values))) == (422, "wrong_type", [pointer])


@pytest.mark.parametrize(
    ("table", "code", "pointer"),
    [
        (as_table(items(1)).drop_columns(["id"]), "missing_column", "/id"),
        (as_table(items(1)).drop_columns(["version"]), "missing_column", "/version"),
        (as_table(items(1)).drop_columns(["prediction"]), "missing_column", "/prediction"),
        (as_table(items(1)).append_column("label", pa.array(["1"])), "unknown_field", "/label"),
        (as_table(items(1)).append_column("age", pa.array([1.5])), "duplicate_column", "/age"),
        (as_table(items(1)).append_column("a\x00", pa.array([1.5])), "invalid_text", "/a\\x00"),
    ],
)
def test_columns_that_cannot_be_told_are_refused(
    api: Api, flights: Model, table: pa.Table, code: str, pointer: str
) -> None:
    assert refusal(api, as_stream(table)) == (422, code, [pointer])


def test_more_rows_than_a_request_may_hold_are_refused_before_they_are_made(api: Api, flights: Model) -> None:
    many = pa.table({"id": pa.Array.from_buffers(pa.null(), (1 << 31) - 1, [None])})

    assert refusal(api, as_stream(many))[:2] == (413, "batch_too_large")


def test_an_empty_table_is_refused(api: Api, flights: Model) -> None:
    assert refusal(api, as_stream(as_table(items(1)).slice(0, 0)))[:2] == (422, "empty_batch")


def test_a_buffer_that_says_it_unpacks_to_a_tebibyte_is_refused(api: Api, flights: Model) -> None:
    body = as_stream(replaced("age", pa.array([0.5] * 4)), "zstd")
    length = (32).to_bytes(8, "little")  # of four float64
    assert length in body

    bomb = body.replace(length, (1 << 40).to_bytes(8, "little"))

    assert refusal(api, bomb)[:2] == (413, "body_too_large")


def test_a_long_text_that_each_row_refers_to_is_refused(api: Api, flights: Model) -> None:
    table = as_table(items(1_000))
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), pa.array(["x" * 60_000]))

    body = as_stream(table.append_column("note", words))

    assert len(body) < 1 << 20
    assert refusal(api, body)[:2] == (413, "body_too_large")


def test_places_outside_a_dictionary_are_refused(api: Api, flights: Model) -> None:
    places = pa.array([0, 1, 2, 3], pa.int32())
    words = pa.DictionaryArray.from_arrays(places, pa.array(["a"]), safe=False)

    assert refusal(api, as_stream(replaced("carrier", words)))[:2] == (400, "malformed_arrow")


@pytest.mark.slow
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_any_damage_is_refused_or_read_and_never_a_fault_of_the_server(
    api: Api, flights: Model, compression: str | None
) -> None:
    table = replaced("carrier", pa.array(list("abca")).dictionary_encode())
    body, chance = as_stream(table, compression), random.Random(7)
    damaged = [body[:end] for end in range(0, len(body), 97)]
    for _ in range(150):
        other = bytearray(body)
        for _ in range(chance.randint(1, 4)):
            other[chance.randrange(len(other))] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
        damaged.append(bytes(other))

    statuses = {api.post(PATH, one, content_type=STREAM).status_code for one in damaged}

    assert 400 in statuses
    assert statuses <= {200, 400, 413, 422}
