"""Rows of Parquet, CSV and NDJSON become JSON, from any row on, and what is broken in them is said."""

import errno
import gzip
import io
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.prediction_log.imports.reading.csv_source import MISSING
from inference.prediction_log.sources.objects import parquet_rows, rows
from inference.prediction_log.sources.objects.rows import BrokenObject, OutOfTime, Row, read_rows
from inference.prediction_log.sources.objects.settings import ObjectsSettings


def read(raw: bytes, path: str, start: int = 0, **settings: Any) -> list[Row]:
    return list(read_rows(io.BytesIO(raw), path, ObjectsSettings(bucket="b", **settings), start=start))


def values(found: list[Row]) -> list[Any]:
    return [orjson.loads(row.value) for row in found]


def faults(found: list[Row]) -> list[str]:
    return [row.fault.detail if row.fault else "" for row in found]


def parquet(table: pa.Table, **options: Any) -> bytes:
    target = io.BytesIO()
    pq.write_table(table, target, **options)
    return target.getvalue()


def csv_of(count: int) -> bytes:
    return b"id,x\n" + b"".join(b"r%d,%d\n" % (n, n) for n in range(count))


def ndjson_of(count: int) -> bytes:
    return b"".join(b'{"id": "r%d", "x": %d}\n' % (n, n) for n in range(count))


def parquet_of(count: int) -> bytes:
    table = pa.table({"id": [f"r{n}" for n in range(count)], "x": [*range(count)]})
    return parquet(table, row_group_size=7)


MAKERS: dict[str, Callable[[int], bytes]] = {
    "a.parquet": parquet_of,
    "a.csv": csv_of,
    "a.ndjson": ndjson_of,
    "a.CSV.gz": lambda count: gzip.compress(csv_of(count)),
    "a.jsonl.gz": lambda count: gzip.compress(ndjson_of(count)),
}


class TestEveryFormat:
    @pytest.mark.parametrize("start", [0, 1, 7, 19, 20])
    @pytest.mark.parametrize("path", MAKERS)
    def test_reads_on_at_any_row(self, path: str, start: int) -> None:
        found = values(read(MAKERS[path](20), path, start))

        assert [row["id"] for row in found] == [f"r{number}" for number in range(start, 20)]

    @pytest.mark.parametrize("path", ["a.parquet", "a.CSV.gz", "a.jsonl.gz"])
    def test_says_what_cannot_be_read_when_it_is_cut(self, path: str) -> None:
        with pytest.raises(BrokenObject, match=f"{path} cannot be read as"):
            read(MAKERS[path](500)[:-40], path)

    @pytest.mark.parametrize("path", MAKERS)
    def test_of_nothing_has_no_row_or_is_broken(self, path: str) -> None:
        if path.endswith(".parquet"):
            with pytest.raises(BrokenObject):
                read(b"", path)
        else:
            assert read(b"", path) == []

    def test_is_chosen_by_the_ending_unless_it_is_set(self) -> None:
        assert len(read(ndjson_of(2), "part-0000", format="ndjson")) == 2
        assert ObjectsSettings(bucket="b").format_of("part-0000") == ""
        assert ObjectsSettings(bucket="b", glob="scores/*.csv").format_of("scores/2026/a.csv") == "csv"
        assert ObjectsSettings(bucket="b", glob="scores/*.csv").format_of("other/a.csv") == ""


class TestParquet:
    def test_types_become_those_of_json(self) -> None:
        moment = datetime(2026, 1, 5, 10, tzinfo=UTC)
        table = pa.table(
            {
                "naive": pa.array([moment.replace(tzinfo=None)], pa.timestamp("ns")),
                "zoned": pa.array([moment], pa.timestamp("s", "Europe/Berlin")),
                "day": [date(2026, 1, 5)],
                "amount": [Decimal("1.25")],
                "whole": pa.array([Decimal(10**19 + 1)], pa.decimal128(38, 0)),
                "missing": pa.array([float("nan")]),
                "text": ["é"],
                "nested": [{"a": [1, 2]}],
                "raw": [b"\xff"],
                "large": pa.array([b"\xfe"], pa.large_binary()),
                "gap": pa.array([None], pa.binary()),
                "none": pa.nulls(1),
            }
        )

        [row] = values(read(parquet(table), "a.parquet"))

        assert row == {
            "naive": "2026-01-05T10:00:00Z",
            "zoned": "2026-01-05T10:00:00Z",
            "day": "2026-01-05",
            "amount": 1.25,
            "whole": 10**19 + 1,
            "missing": None,
            "text": "é",
            "nested": {"a": [1, 2]},
            "raw": "/w==",
            "large": "/g==",
            "gap": None,
            "none": None,
        }

    @pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()])
    def test_a_long_value_many_times_is_written_in_parts(
        self, monkeypatch: pytest.MonkeyPatch, kind: pa.DataType
    ) -> None:
        monkeypatch.setattr(parquet_rows, "BATCH_TEXT_BYTES", 4_000)
        table = pa.table({"x": pa.array(["y" * 1_000] * 50, kind)})
        written = pq.ParquetFile(io.BytesIO(parquet(table)), read_dictionary=["x"]).read()
        assert pa.types.is_dictionary(written["x"].type)

        parts = list(parquet_rows._parts(table.set_column(0, "x", table["x"].dictionary_encode())))

        assert {part.num_rows for part in parts} <= {2, 4}
        assert len(read(parquet(table), "a.parquet")) == 50

    def test_a_value_that_cannot_be_written_costs_its_row_alone(self) -> None:
        days = pa.array([1, 2**31 - 1, 3], pa.int32()).cast(pa.date32())

        found = read(parquet(pa.table({"id": ["a", "b", "c"], "day": days})), "a.parquet")

        assert [said.partition(":")[0] for said in faults(found)] == ["", "The row cannot be read", ""]
        assert [orjson.loads(row.value)["id"] for row in found if row.fault is None] == ["a", "c"]

    def test_what_is_no_parquet_is_broken(self) -> None:
        with pytest.raises(BrokenObject, match=r"a\.parquet cannot be read as parquet"):
            read(b"PAR1 or not", "a.parquet")

    def test_a_page_that_is_damaged_is_found_after_the_rows_before_it(self) -> None:
        raw = bytearray(parquet_of(70))
        place = pq.read_metadata(io.BytesIO(raw)).row_group(5).column(0).dictionary_page_offset
        raw[place : place + 20] = b"\xff" * 20
        reading = read_rows(io.BytesIO(raw), "a.parquet", ObjectsSettings(bucket="b"), start=0)

        assert orjson.loads(next(reading).value) == {"id": "r0", "x": 0}
        with pytest.raises(BrokenObject):
            list(reading)


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), RecursionError("x"), pa.ArrowKeyError("x")])
def test_whatever_a_reader_raises_breaks_its_object_alone(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(rows, "read_parquet", fail)

    with pytest.raises(BrokenObject, match=r"a\.parquet cannot be read as parquet"):
        read(b"", "a.parquet")


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "of the disk")])
def test_what_this_machine_lacks_is_no_fault_of_an_object(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(rows, "read_parquet", fail)

    with pytest.raises(type(error)):
        read(b"", "a.parquet")


class TestBounds:
    @pytest.mark.parametrize("path", ["a.csv.gz", "a.ndjson.gz"])
    @pytest.mark.parametrize("content", [b"\n" * 5_000, b"x" * 5_000])
    def test_a_file_that_unpacks_to_too_much_is_broken(
        self, monkeypatch: pytest.MonkeyPatch, path: str, content: bytes
    ) -> None:
        monkeypatch.setattr(rows, "MIN_UNPACKED_LIMIT", 1_000)
        monkeypatch.setattr(rows, "MAX_UNPACKED_TIMES", 1)

        with pytest.raises(BrokenObject, match="it unpacks to more than 1,000 bytes"):
            read(gzip.compress(content), path)

    def test_a_row_of_many_lines_is_broken_above_its_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rows, "MAX_ROW_BYTES", 1_000)
        cells = b",".join([b'"a\nb"'] * 200)

        with pytest.raises(BrokenObject, match="a row has more than 1,000 bytes"):
            read(b"id,x\n" + cells, "a.csv")
        assert len(read(b"id,x\n" + b'a,"b\n"\n' * 200, "a.csv")) == 200

    @pytest.mark.parametrize("path", MAKERS)
    def test_nothing_is_read_after_the_deadline(self, path: str) -> None:
        where = ObjectsSettings(bucket="b")

        with pytest.raises(OutOfTime):
            next(read_rows(io.BytesIO(MAKERS[path](9)), path, where, start=0, deadline=float("-inf")))


class TestCsv:
    def test_cells_are_text_and_empty_ones_are_missing(self) -> None:
        [row] = read(b'\xef\xbb\xbfid;x;note\r\n007;;"a;\nb"\r\n', "a.csv", delimiter=";")

        assert row.has_text_cells
        assert orjson.loads(row.value) == {"id": "007", "x": None, "note": "a;\nb"}

    @pytest.mark.parametrize("cell", MISSING)
    def test_what_is_missing_in_a_file_that_is_imported_is_missing_here(self, cell: str) -> None:
        [row] = read(f"id,x\na,{cell}\n".encode(), "a.csv")

        assert orjson.loads(row.value) == {"id": "a", "x": None}

    def test_a_row_of_another_length_is_said_and_the_rest_read(self) -> None:
        found = read(b"id,x\na,1\nb\n\nc,1,2\nd,4\n", "a.csv")

        assert faults(found) == [
            "",
            "The row has 1 cells, and the header 2.",
            "The row has 3 cells, and the header 2.",
            "",
        ]

    def test_a_row_that_is_no_utf_8_is_said(self) -> None:
        assert faults(read(b"id,x\na,\xff\nb,1\n", "a.csv")) == ["The row is not in UTF-8.", ""]

    def test_a_quote_that_is_never_closed_costs_a_part_of_the_file_at_most(self) -> None:
        raw = b'id,x\na,"' + b"b,1\n" * 50_000

        found = read(raw, "a.csv")

        assert "larger than field limit" in faults(found)[0]
        assert len([row for row in found if row.fault is None]) > 10_000

    @pytest.mark.parametrize("header", [b"id,id\n", b"id,\n", b"i\xff,x\n"])
    def test_a_header_that_names_no_columns_is_broken(self, header: bytes) -> None:
        with pytest.raises(BrokenObject):
            read(header + b"a,1\n", "a.csv")

    def test_a_file_in_another_encoding_says_so(self) -> None:
        with pytest.raises(BrokenObject, match="its first line is not in UTF-8"):
            read("id,x\na,1\n".encode("utf-16"), "a.csv")

    @pytest.mark.parametrize("raw", [b"id,x\ra,1\rb,2\r", b"i" * 200_000 + b",x\na,1\n"])
    def test_a_header_that_cannot_be_read_is_broken_and_stops_nothing_else(self, raw: bytes) -> None:
        with pytest.raises(BrokenObject, match=r"a\.csv cannot be read as csv"):
            read(raw, "a.csv")

    @pytest.mark.parametrize(("path", "head"), [("a.csv", b"id,x\n"), ("a.ndjson", b"")])
    def test_a_line_without_an_end_is_cut(
        self, monkeypatch: pytest.MonkeyPatch, path: str, head: bytes
    ) -> None:
        monkeypatch.setattr(rows, "MAX_LINE_BYTES", 100)

        found = read(head + b"a,1" + b"1" * 1_000 + b"\nb,2\n", path)

        assert [said[:24] for said in faults(found)] == ["The line is longer than ", ""]
