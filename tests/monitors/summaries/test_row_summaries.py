"""What a job summarises elsewhere is, bit for bit, what Driftline keeps of the same rows."""

import json
import logging
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from driftline.base.accounts.models import Project
from driftline_spark import bundle, model_api, row_summaries
from driftline_spark.bundle import write_bundle
from driftline_spark.layout import RowLayout, WindowRow
from driftline_spark.model_api import ATTEMPTS, DriftlineRefused, ModelApi
from driftline_spark.row_summaries import complete, decoded, encoded, summarise_batches
from inference.prediction_log.ingest.parsing import parse_predictions
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from monitors.definitions.models import FeatureProfile, SegmentFeature
from monitors.definitions.services import build_reference
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.summaries.checking import difference_of
from monitors.summaries.models import Summary
from monitors.summaries.uploads.layout import layout_of
from monitors.summaries.uploads.schemas import LayoutOut
from monitors.summaries.uploads.services import SentWindow, add_batch
from tests.worlds.approvals import (
    DAY,
    give_reference,
    label,
    log,
    make_model,
    rows_of_a_day,
    table_of,
    truths,
    work,
)

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
NOW = DAY + timedelta(days=3)


@pytest.fixture
def model() -> Model:
    model = make_model(Project.objects.create(slug="bank", name="Bank"))
    give_reference(model)
    SegmentFeature.objects.create(model=model, feature="region")
    return model


def layouts(model: Model) -> Mapping[str, RowLayout]:
    version = model.versions.get()
    answer: dict[str, Any] = msgspec.to_builtins(LayoutOut.of(layout_of(model, version)))
    return {"1": RowLayout.read(answer)}


def log_day(model: Model, n: int) -> None:
    rows = rows_of_a_day(DAY, n)
    log(model, rows)
    label(model, truths(rows))
    work(model)


def logged(model: Model) -> dict[tuple[int, str], bytes]:
    stored = Summary.objects.filter(model=model, span="hour").values_list("start", "segment", "payload")
    return {
        (int(start.timestamp()) * 1_000_000, segment): bytes(payload) for start, segment, payload in stored
    }


def summarised(
    model: Model,
    table: pa.Table,
    parts: int = 1,
    batch: int = 10_000,
    by_version: Mapping[str, RowLayout] | None = None,
) -> dict[tuple[int, str], bytes]:
    """What a job of so many partitions makes of a table."""
    return {
        (row.hour_us, row.segment): row.summary
        for row in windows_of(table, by_version or layouts(model), parts, batch)
    }


def windows_of(
    table: pa.Table, by_version: Mapping[str, RowLayout], parts: int = 1, batch: int = 10_000
) -> list[WindowRow]:
    size = -(-table.num_rows // parts)
    rows = [
        row
        for start in range(0, table.num_rows, size)
        for row in summarise_batches(
            table.slice(start, size).to_batches(batch), by_version, version="1", now=NOW
        )
    ]
    features = {name for one in by_version.values() for name in one.segment_features}
    return complete(encoded(decoded(rows)), features)


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.append_column(name, values) if place < 0 else table.set_column(place, name, values)


def whole_hours(found: Mapping[tuple[int, str], bytes]) -> list[WindowSummary]:
    return [WindowSummary.decode(data) for (_, segment), data in sorted(found.items()) if not segment]


def test_are_bit_for_bit_those_of_the_log(model: Model) -> None:
    log_day(model, 2_400)

    assert summarised(model, table_of(2_400)) == logged(model)


@pytest.fixture
def with_vectors() -> Model:
    """A model with a reference of photos of 32 numbers, as Parquet."""
    model = make_model(Project.objects.create(slug="camera", name="Camera"))
    content = BytesIO()
    rows = table_of(600).drop_columns(["latency_ms"])  # which would be a feature there
    pq.write_table(with_column(rows, "photo", pa.array(photos(600, seed=1))), content)
    content.seek(0)
    stored = store_reference(
        model=model, version="1", stream=content, content_type="application/vnd.apache.parquet", actor="test"
    )
    build_reference(stored.pk)
    return model


def photos(n: int, *, seed: int = 0) -> list[list[float]]:
    return np.random.default_rng(seed).normal(size=(n, 32)).astype(np.float32).tolist()


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_of_vectors_are_bit_for_bit_those_of_the_log(with_vectors: Model, kind: pa.DataType) -> None:
    vectors: list[list[float] | None] = [*photos(600)]
    vectors[::7] = [None] * len(vectors[::7])
    rows = rows_of_a_day(DAY, 600)
    sent = [
        msgspec.structs.replace(row, features={**row.features, "photo": one})
        for row, one in zip(rows, vectors, strict=True)
    ]
    log(with_vectors, sent)
    label(with_vectors, truths(rows))
    work(with_vectors)

    found = summarised(with_vectors, with_column(table_of(600), "photo", pa.array(vectors, pa.list_(kind))))

    assert found == logged(with_vectors)
    whole = whole_hours(found)[0]
    assert {"photo.projection_01", "photo.projection_16", "photo.norm"} <= set(whole.features)


def test_are_of_no_row_with_a_vector_of_another_length(
    with_vectors: Model, caplog: pytest.LogCaptureFixture
) -> None:
    vectors: list[list[float]] = [*photos(600)]
    vectors[10], vectors[20] = [1.0] * 31, []

    with caplog.at_level(logging.WARNING):
        found = summarised(with_vectors, with_column(table_of(600), "photo", pa.array(vectors)))

    assert sum(one.rows for one in whole_hours(found)) == 598
    assert "2 rows were left out, which the log would refuse: 2 for the photo" in caplog.text


@pytest.mark.parametrize("number", [None, float("nan"), float("inf")])
def test_are_of_no_row_with_a_vector_that_lacks_a_number_as_the_log_has_none(
    with_vectors: Model, caplog: pytest.LogCaptureFixture, number: float | None
) -> None:
    vectors: list[list[float | None]] = [*photos(600)]  # type: ignore[list-item]
    vectors[10] = [*vectors[10][:-1], number]
    item = {
        "id": "a",
        "timestamp": DAY.isoformat(),
        "version": "1",
        "prediction": 1,
        "features": {"photo": vectors[10]},
    }

    with caplog.at_level(logging.WARNING):
        found = summarised(with_vectors, with_column(table_of(600), "photo", pa.array(vectors)))
    sent = parse_predictions(json.dumps(item).encode(), lines=True, task=with_vectors.task, now=DAY)

    assert sum(one.rows for one in whole_hours(found)) == 599
    assert "1 rows were left out, which the log would refuse: 1 for the photo" in caplog.text
    assert [(one.code, one.pointer) for one in sent.faults.values()] == [
        ("malformed_json", "/0") if number else ("wrong_type", "/0/features/photo")
    ]


def test_are_of_no_row_with_a_text_in_place_of_a_vector(with_vectors: Model) -> None:
    texts = [None, "no vector"] * 300

    found = summarised(with_vectors, with_column(table_of(600), "photo", pa.array(texts)))

    assert sum(one.rows for one in whole_hours(found)) == 300


def test_of_wide_rows_are_made_of_fewer_at_once(with_vectors: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    table = with_column(table_of(600), "photo", pa.array(photos(600)))
    at_once = summarised(with_vectors, table)

    monkeypatch.setattr(row_summaries, "BYTES_TOGETHER", 1)
    found = summarised(with_vectors, table, batch=100)

    assert found.keys() == at_once.keys()
    for key in found:
        assert difference_of(WindowSummary.decode(found[key]), WindowSummary.decode(at_once[key])) is None


def test_of_many_partitions_are_those_of_one(model: Model) -> None:
    table = table_of(2_400)

    one, many = summarised(model, table), summarised(model, table, parts=7, batch=100)

    assert one.keys() == many.keys()
    for key in one:
        assert difference_of(WindowSummary.decode(one[key]), WindowSummary.decode(many[key])) is None


def test_take_rows_in_any_order(model: Model) -> None:
    table = table_of(600)

    assert summarised(model, table.take(list(reversed(range(600))))) == summarised(model, table)


def test_without_labels_have_none(model: Model) -> None:
    with_labels, without = summarised(model, table_of(600)), summarised(model, table_of(600, labels=False))

    assert with_labels.keys() == without.keys()
    assert with_labels != without


def test_leave_out_a_feature_of_too_many_values(model: Model) -> None:
    table = table_of(2_400)
    names = pa.array([f"r{number % 60}" for number in range(table.num_rows)])

    found = summarised(model, with_column(table, "region", names), parts=3)

    assert {segment for _, segment in found} == {""}


def test_count_values_of_another_type_as_the_log_does(model: Model) -> None:
    found = summarised(model, with_column(table_of(48), "income", pa.array(["high"] * 48)))

    first = WindowSummary.decode(found[min(found)])
    assert (first.features["income"].wrong_type, first.rows) == (2, 2)


def test_of_a_version_that_nobody_asked_for_are_refused(model: Model) -> None:
    with pytest.raises(ValueError, match="version '2'"):
        list(summarise_batches(table_of(10).to_batches(), layouts(model), version="2", now=NOW))


# -- columns of other types --------------------------------------------------------------------------------------------
CLASSES: Mapping[str, tuple[pa.DataType, Callable[[str], Any]]] = {
    "booleans": (pa.bool_(), lambda text: text == "1"),
    "doubles": (pa.float64(), float),
    "integers": (pa.int32(), int),
    "decimals": (pa.decimal128(6, 2), Decimal),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_have_classes_of_other_types_as_the_log_has_them(model: Model, kind: str) -> None:
    log_day(model, 480)
    type_, write = CLASSES[kind]
    table = table_of(480)
    for name in ("prediction", "label"):
        values = pa.array([write(text) for text in table[name].to_pylist()], type_)
        table = with_column(table, name, values)

    assert summarised(model, table) == logged(model)


def test_take_nan_for_no_label(model: Model) -> None:
    table = table_of(480)
    known = [None if number % 3 else text for number, text in enumerate(table["label"].to_pylist())]
    numbers = pa.array([float("nan") if text is None else float(text) for text in known])

    found = summarised(model, with_column(table, "label", numbers))

    assert found == summarised(model, with_column(table, "label", pa.array(known)))
    assert sum(one.labelled for one in whole_hours(found)) == 160


def test_take_what_is_no_number_for_no_label_of_a_regression(model: Model) -> None:
    known = layouts(model)["1"]
    signature = msgspec.structs.replace(known.signature, task="regression", classes=[], positive_class=None)
    regression = {"1": replace(known, signature=signature, prediction_centre=0.0)}
    table = with_column(table_of(48), "prediction", pa.array([1.5] * 48))
    labels = pa.array([2.0, float("nan"), None, float("inf")] * 12)
    texts = pa.array(["2", "nan", None, "unknown"] * 12)

    found = [
        summarised(model, with_column(table, "label", one), by_version=regression) for one in (labels, texts)
    ]

    assert found[0] == found[1]
    assert [sum(one.labelled for one in whole_hours(some)) for some in found] == [12, 12]


def test_take_decimals_for_numbers(model: Model) -> None:
    table = table_of(480)
    incomes = [round(income * 8) / 8 for income in table["income"].to_pylist()]
    decimals = pa.array([Decimal(f"{income:.3f}") for income in incomes], pa.decimal128(9, 3))

    found = summarised(model, with_column(table, "income", decimals))

    assert found == summarised(model, with_column(table, "income", pa.array(incomes)))
    assert sum(one.features["income"].n for one in whole_hours(found)) == 480


def test_take_nan_in_a_text_for_missing(model: Model) -> None:
    numbers = pa.array([1.0, float("nan")] * 24)

    found = summarised(model, with_column(table_of(48), "region", numbers))

    first = whole_hours(found)[0].features["region"]
    assert (first.counts, first.missing) == ({"1": 1}, 1)  # type: ignore[union-attr]
    assert {segment for _, segment in found} == {"", "region:1"}


def test_write_numbers_as_texts_where_the_log_does(model: Model) -> None:
    FeatureProfile.objects.filter(model=model, feature="income").update(centre=None)
    SegmentFeature.objects.create(model=model, feature="income")
    rows = [replace_income(row, float(number % 3)) for number, row in enumerate(rows_of_a_day(DAY, 480))]
    log(model, rows)
    label(model, truths(rows))
    work(model)
    table = with_column(table_of(480), "income", pa.array([row.features["income"] for row in rows]))

    found = summarised(model, table)

    assert found == logged(model)
    assert set(whole_hours(found)[0].features["income"].counts) == {"0.0", "1.0", "2.0"}  # type: ignore[union-attr]


def replace_income(row: SentPrediction, income: float) -> SentPrediction:
    return msgspec.structs.replace(row, features={**row.features, "income": income})


# -- rows that the log would refuse ------------------------------------------------------------------------------------
def test_leave_out_rows_that_the_log_would_refuse_and_say_how_many(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    table = table_of(48)
    bad = {
        "timestamp": [None, NOW + timedelta(minutes=11), NOW - timedelta(days=3651)],
        "prediction": [None, "x" * 201, "\0"],
        "latency_ms": [-1.0],
        "probability": [1.5],
        "role": ["owner"],
    }
    table = with_column(table, "role", pa.array([None] * 48, pa.string()))
    columns = {name: table[name].to_pylist() for name in table.column_names}
    place = 0
    for name, values in bad.items():
        for value in values:
            columns[name][place] = value
            place += 1

    with caplog.at_level(logging.WARNING):
        found = summarised(model, pa.table(columns, schema=table.schema))

    assert found == summarised(model, table_of(48).slice(place))
    [line] = [record.getMessage() for record in caplog.records if record.name.startswith("driftline_spark")]
    assert line == (
        "9 rows were left out, which the log would refuse: 1 for the latency_ms, 3 for the prediction, "
        "1 for the probability, 1 for the role, 3 for the timestamp"
    )


def test_are_of_the_first_version_and_a_champion_where_rows_name_none(model: Model) -> None:
    table = table_of(48)
    for name, value in (("version", "1"), ("role", "champion")):
        table = with_column(table, name, pa.array([value, None] * 24))

    assert summarised(model, table) == summarised(model, table_of(48))


def test_count_texts_that_cannot_be_kept_as_of_the_wrong_type(model: Model) -> None:
    texts = pa.array(["north", "no\0rth", "n" * 1_001, None] * 12)

    rows = windows_of(with_column(table_of(48), "region", texts), layouts(model))

    regions = [one.features["region"] for one in whole_hours(by_key(rows))]
    assert [sum(one.wrong_type for one in regions), sum(one.missing for one in regions)] == [24, 12]
    assert {row.segment for row in rows} == {"", "region:north"}
    send(model, rows)


def test_count_a_number_that_no_summary_holds_as_infinite(model: Model) -> None:
    incomes = pa.array([1e300, -1e300, 1.0, float("inf")] * 12)

    rows = windows_of(with_column(table_of(48), "income", incomes), layouts(model))

    columns = [one.features["income"] for one in whole_hours(by_key(rows))]
    assert [sum(one.infinite for one in columns), sum(one.n for one in columns)] == [36, 12]  # type: ignore[union-attr]
    send(model, rows)


def send(model: Model, rows: list[WindowRow]) -> None:
    """Send windows, of which Driftline takes all."""
    sent = [
        SentWindow(
            row.version, row.role, datetime.fromtimestamp(row.hour_us / 1e6, UTC), row.segment, row.summary
        )
        for row in rows
    ]
    _, is_new = add_batch(model=model, name="day", windows=sent, actor="test", now=NOW)
    assert is_new


def by_key(rows: list[WindowRow]) -> dict[tuple[int, str], bytes]:
    return {(row.hour_us, row.segment): row.summary for row in rows}


def test_of_two_classes_have_the_probability_of_the_positive_one(model: Model) -> None:
    table = table_of(48)
    both = pa.array([[1 - p, p] for p in table["probability"].to_pylist()])

    assert summarised(model, with_column(table, "probability", both)) == summarised(model, table)


# -- sending -----------------------------------------------------------------------------------------------------------
SENT: list[Mapping[str, Any]] = []


class Sending(ModelApi):
    """Keeps what would be sent."""

    def _send(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        SENT.append(body)
        return {"is_new": True}


def test_are_sent_by_the_hour_whatever_their_bytes_are(model: Model) -> None:
    rows = windows_of(table_of(240), layouts(model))
    longer = [row._replace(summary=row.summary + b"0" * 9_000) for row in reversed(rows)]
    names = []
    for windows in (rows, longer):
        SENT.clear()
        assert Sending("http://127.0.0.1", "lake", "t").add("day", windows)
        names.append([(body["batch"], [one["segment"] for one in body["windows"]]) for body in SENT])

    assert names[0] == names[1]
    assert len(names[0]) == 24
    assert names[0][0][0].startswith("day.2026010500.")
    assert names[0][0][1] == ["", "region:north", "region:south"]


def windows(segments: list[str]) -> list[WindowRow]:
    """Windows of one hour, each of a hundred bytes that are a thousand when they are unpacked."""
    data = zstandard.compress(bytes(1_000)).ljust(100, b"0")
    return [WindowRow("1", "champion", 0, segment, 60, data) for segment in segments]


def test_leave_out_a_feature_with_a_colon_and_no_other() -> None:
    few = windows(["", *(f"area:{n}" for n in range(9))])
    many = windows([f"area:code:{n}" for n in range(51)])

    assert complete([*many, *few], ("area", "area:code")) == few


@pytest.mark.parametrize(("limit", "most"), [("MAX_HOUR_BYTES", 1_500), ("MAX_UNPACKED_BYTES", 15_000)])
def test_leave_out_the_features_of_most_segments_where_an_hour_is_too_large(
    monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(row_summaries, limit, most)
    hour, few = windows([""]), windows([f"zone:{n}" for n in range(9)])
    many = windows([f"area:{n}" for n in range(20)])

    assert complete([*many, *few, *hour], ("area", "zone")) == [*hour, *few]
    assert complete([*many, *hour], ("area", "zone")) == hour


class Server(HTTPServer):
    """Cuts its first answer short and closes the second connection, then answers."""

    asked = 0


class Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1  # type: ignore[attr-defined]
        if self.server.asked == 2:  # type: ignore[attr-defined]
            return
        answer = b'{"missing": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer[:5] if self.server.asked == 1 else answer)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made between attempts."""
    made: list[float] = []
    monkeypatch.setattr(model_api.time, "sleep", made.append)
    return made


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_are_sent_again_where_an_answer_was_cut_short(server: Server, pauses: list[float]) -> None:
    api = ModelApi(f"http://127.0.0.1:{server.server_port}", "lake", "t")

    assert api.ask("1", {}) == {"missing": []}
    assert len(pauses) == 2


def test_are_given_up_right_after_the_last_attempt(pauses: list[float]) -> None:
    with HTTPServer(("127.0.0.1", 0), Answers) as closed:
        port = closed.server_port

    with pytest.raises(DriftlineRefused, match=f"{ATTEMPTS} times"):
        ModelApi(f"http://127.0.0.1:{port}", "lake", "t").ask("1", {})

    assert len(pauses) == ATTEMPTS - 1


# -- the bundle --------------------------------------------------------------------------------------------------------
def test_are_made_by_workers_that_have_no_django(tmp_path: Path) -> None:
    path = tmp_path / "driftline-spark.zip"
    write_bundle(path)
    code = (
        f"import sys; sys.path.insert(0, {str(path)!r}); sys.modules['django'] = None; "
        "import driftline_spark.job as job; print(job.__file__)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )

    assert done.stdout.startswith(str(path))
    with zipfile.ZipFile(path) as archive:
        sizes = [(one.compress_size, one.file_size) for one in archive.infolist() if one.file_size > 1_000]
    assert sizes
    assert all(packed < size for packed, size in sizes)


def test_cannot_be_packed_without_their_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "_PACKED", {tmp_path: ("driftline_spark",)})

    with pytest.raises(FileNotFoundError, match="in a checkout of Driftline"):
        write_bundle(tmp_path / "driftline-spark.zip")

    assert not (tmp_path / "driftline-spark.zip").exists()
