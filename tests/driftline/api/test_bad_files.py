"""Files that lie, burst or mean nothing, as a reference or an import: a clear answer, and nothing half-written."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.prediction_log.imports import services
from inference.prediction_log.models import PredictionRow
from inference.registry.models import Dataset, Model
from tests.driftline.api.conftest import Api, caller
from tests.driftline.api.shape import assert_problem

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
REFERENCE, IMPORT = "/models/flights/reference?version=1", "/models/flights/imports/predictions"
TIME, GOOD_LINE = b"2026-01-05T00:00:00Z", b"timestamp,prediction,x\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture(autouse=True)
def model(flights: Model) -> Model:
    return flights


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


def nested(depth: int) -> pa.Array:
    kind: pa.DataType = pa.int64()
    for _ in range(depth):
        kind = pa.list_(kind)
    return pa.array([None, None], kind)


def bomb() -> bytes:
    """Four thousand times one text of a million letters: some hundred bytes that unpack to four gigabytes."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 4_000, pa.int32()), pa.array(["a" * 1_000_000]))
    return parquet({"x": texts, "label": pa.array([1] * 4_000)}, compression="zstd", store_schema=False)


MIXED_TIMES = [
    "2013-01-01T10:00:00Z",
    "2013-01-01T10:00:00.123Z",
    "2013-01-01 12:00:00.123456+02:00",
    "2013-01-01T10:00:00.123456789Z",
]
GOOD_PARQUET = parquet({"x": [1.0, 2.0], "label": [0, 1]})

REFERENCES = [
    ("81 wrong delimiter, so that rows differ", b"a;b,c\n1;2,3\n1,2,3\n", CSV, 422, "invalid_csv"),
    ("81 unbalanced quote", b'a,b\n1,"2\n' + b"3,4\n" * 100_000, CSV, 422, "invalid_csv"),
    ("81 mixed encodings", b"a,b\n1,f\xc3\xbcr\n1,f\xfcr\n", CSV, 422, "invalid_encoding"),
    ("81 NUL in a name", b"a\0,b\n1,2\n", CSV, 422, "invalid_header"),
    ("81 NUL in a class", b"a,label\n1,x\0\n2,y\n", CSV, 422, "invalid_text"),
    ("82 empty name", b"a,,c\n1,2,3\n", CSV, 422, "invalid_header"),
    ("82 100,000 columns", b",".join(b"c%d" % n for n in range(100_000)) + b"\n1\n", CSV, 422, "too_many_columns"),
    ("82 a name of 300 letters", b"a" * 300 + b",b\n1,2\n", CSV, 422, "invalid_header"),
    ("83 bomb", bomb(), PARQUET, 413, "body_too_large"),
    ("84 lists of one", parquet({"x": [[1], [2]], "y": [1.0, 2.0]}), PARQUET, 422, "invalid_vector"),
    ("84 lists 50 deep", parquet({"x": nested(50)}), PARQUET, 422, "not_parquet"),
    ("84 lists as labels", parquet({"x": [1.0, 2.0], "label": [[1], [2]]}), PARQUET, 422, "invalid_vector"),
    ("84 records as ids", parquet({"x": [1.0], "id": [{"a": 1}]}), PARQUET, 422, "wrong_type"),
    ("84 a binary column", parquet({"x": [b"\xff"], "y": [1.0]}), PARQUET, 422, "wrong_type"),
    ("84 an extension type", parquet({"x": pa.array([b"0" * 16], pa.uuid()), "y": [1.0]}), PARQUET, 422, "wrong_type"),
    ("84 a footer that lies", GOOD_PARQUET[:-60] + b"\xff" * 52 + GOOD_PARQUET[-8:], PARQUET, 422, "not_parquet"),
    ("84 encrypted", b"PARE" + GOOD_PARQUET[4:-4] + b"PARE", PARQUET, 422, "not_parquet"),
    ("84 no rows", parquet({"x": pa.array([], pa.float64())}), PARQUET, 422, "no_rows"),
    ("categories", parquet({"x": pa.array(["a", "b"]).dictionary_encode(), "y": pa.array([7, 8]).dictionary_encode()}),
     PARQUET, 200, None),
    ("times of mixed precision", parquet({"x": [1.0] * 4, "timestamp": MIXED_TIMES}), PARQUET, 200, None),
    ("a time without a zone", parquet({"x": [1.0], "timestamp": ["2026-01-05T00:00:00"]}), PARQUET, 422,
     "invalid_timestamp"),
    ("a label beyond every class", b"a,label\n1,inf\n2,1e300\n", CSV, 200, None),
    ("half numbers", parquet({"x": pa.array([1.0, 2.0], pa.float16()), "label": pa.array([0, 1], pa.float16())}),
     PARQUET, 200, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"), [row[1:] for row in REFERENCES], ids=[row[0] for row in REFERENCES]
)
def test_a_reference_gets_its_answer(
    content: bytes, kind: str, status: int, code: str | None, api: Api, home: Path
) -> None:
    answer = api.send("PUT", REFERENCE, content, content_type=kind)

    if code is None:
        assert answer.status_code in (200, 201, 202), answer.content
        return
    assert_problem(answer, status, code)
    assert not Dataset.objects.exists()
    assert not list(home.glob("datasets/*"))


IMPORTS = [
    ("81 byte order mark", b"\xef\xbb\xbf" + GOOD_LINE + TIME + b",1,2\n", CSV, (1, 0)),
    ("81 NUL in a cell", GOOD_LINE + TIME + b",1,a\0\n" + TIME + b",1,b\n", CSV, (1, 1)),
    ("81 NUL in an id", b"id," + GOOD_LINE + b"a\0," + TIME + b",1,2\nb," + TIME + b",1,2\n", CSV, (1, 1)),
    ("81 ragged rows", GOOD_LINE + TIME + b",1,2\n" + TIME + b",1\n" + TIME + b",1,2,3\n", CSV, (1, 2)),
    ("83 bomb", None, PARQUET, (0, 200)),
    ("88 the last row of many is bad", GOOD_LINE + (TIME + b",1,2\n") * 3_000 + b"never,1,2\n", CSV, (3_000, 1)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "kind", "counts"), [row[1:] for row in IMPORTS], ids=[row[0] for row in IMPORTS]
)
def test_an_import_keeps_what_it_can_and_lists_the_rest(
    content: bytes | None, kind: str, counts: tuple[int, int], api: Api
) -> None:
    if content is None:
        rows = 200
        texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["a" * 1_000_000]))
        times = pa.array([TIME.decode()] * rows)
        content = parquet(
            {"timestamp": times, "prediction": ["1"] * rows, "x": texts},
            compression="zstd",
            store_schema=False,
        )

    answer = api.post(IMPORT, content, content_type=kind)
    assert answer.status_code == 202, answer.content
    services.resume_import(answer.json()["id"])
    told = caller("ours").get(answer["Location"].removeprefix("/api/v1")).json()

    assert told["state"] == "done", told
    assert (told["accepted"], told["rejected"]) == counts
    assert PredictionRow.objects.count() == told["accepted"]
    if told["rejected"]:
        listed = api.get(f"{IMPORT.rsplit('/', 1)[0]}/{told['id']}/bad-rows").getvalue().decode("utf-8-sig")
        assert len(listed.splitlines()) >= 1 + min(counts[1], 1)


MANY = b"".join(b",c%d" % number for number in range(20_000))
DEEP = parquet({"timestamp": [TIME.decode()] * 2, "prediction": ["1", "0"], "x": nested(50)})
REFUSED = [
    ("82 20,000 columns", GOOD_LINE[:-1] + MANY + b"\n1\n", CSV, 422, "too_many_columns"),
    ("82 NUL in a name", b"timestamp,prediction,x\0\n" + TIME + b",1,2\n", CSV, 422, "invalid_text"),
    ("84 lists 50 deep", DEEP, PARQUET, 422, "not_parquet"),
    (
        "84 a footer that lies",
        GOOD_PARQUET[:-60] + b"\xff" * 52 + GOOD_PARQUET[-8:],
        PARQUET,
        422,
        "not_parquet",
    ),
    ("84 encrypted", b"PARE" + GOOD_PARQUET[4:-4] + b"PARE", PARQUET, 422, "invalid_header"),
    ("85 Feather", b"ARROW1\0\0" + b"0" * 50, PARQUET, 415, "unsupported_media_type"),
    ("85 Arrow stream", b"\xff\xff\xff\xff" + b"0" * 50, CSV, 422, "invalid_header"),
]


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_an_import_that_cannot_begin_is_refused(
    content: bytes, kind: str, status: int, code: str, api: Api, home: Path
) -> None:
    assert_problem(api.post(IMPORT, content, content_type=kind), status, code)
    assert not list(home.glob("imports/*"))
