"""Files with wrong first rows, or small on disk and large in memory: each is shown, or refused with what to do."""

import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.data_files.columns import ColumnRole, FileKind, FileReading, check_reading, rewrite
from inference.data_files.guesses import KnownModel
from inference.data_files.preview import Preview, UnreadableHead, preview, read_head
from inference.data_files.times import read_times

pytestmark = pytest.mark.slow

ROWS = 30


def shown(path: Path, **choice: str) -> Preview:
    return preview(read_head(path), known=KnownModel(), **choice)  # type: ignore[arg-type]


def csv_of(folder: Path, text: str) -> Path:
    path = folder / "rows.csv"
    path.write_text(text)
    return path


def parquet_of(folder: Path, **columns: pa.Array) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_numbers_of_thousands_of_digits_are_shown(tmp_path: Path) -> None:
    numbers = "\n".join(f"{'9' * 4_999}{n},{n % 2}" for n in range(10, 40))

    assert shown(csv_of(tmp_path, f"size,late\n{numbers}\n")).columns[0].role == ColumnRole.FEATURE


@pytest.mark.parametrize(
    ("moment", "zone", "stored"),
    [
        ("9999-12-31 23:59:59", "America/New_York", "10000-01-01T04:59:59.000000Z"),
        ("0001-01-01 00:00:00", "Asia/Tokyo", "0000-12-31T14:41:01.000000Z"),
    ],
)
def test_times_that_stand_for_never_are_shown_in_any_zone(
    moment: str, zone: str, stored: str, tmp_path: Path
) -> None:
    rows = f"{moment},1\n" * ROWS

    rows_shown = shown(csv_of(tmp_path, f"timestamp,x\n{rows}"), time_zone=zone).rows

    assert rows_shown[0][0] == stored


def test_times_of_a_zone_that_python_does_not_know_are_shown(tmp_path: Path) -> None:
    times = pa.array([datetime(2026, 1, 1, hour) for hour in range(20)], pa.timestamp("ns", "Moon/Base"))

    rows = shown(parquet_of(tmp_path, timestamp=times, x=pa.array(range(20)))).rows

    assert rows[3][0] == "2026-01-01T03:00:00Z"


def test_seconds_with_a_fraction_are_stored_as_they_are_shown(tmp_path: Path) -> None:
    seconds = pa.array([1_700_000_000.5 + n for n in range(ROWS)])

    rows = shown(parquet_of(tmp_path, timestamp=seconds, x=pa.array(range(ROWS)))).rows
    stored = read_times(pa.chunked_array([seconds]), zone="UTC", date_order=None)

    assert rows[0][0] == "2023-11-14T22:13:20.500000Z"
    assert stored[0].as_py() == datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n\na,b\n1,2\n", "The first line is empty"),
        ("a,b\n" + "x" * (2 << 20), "A row is longer than 1 MiB"),
        ('a,b\n"' + "x\n" * (1 << 20), "is a quote opened and never closed?"),
    ],
)
def test_a_file_without_rows_is_refused_by_what_is_wrong_with_it(
    text: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableHead) as refused:
        shown(csv_of(tmp_path, text))

    assert sentence in str(refused.value)


class TestAParquetFileThatUnpacksToMuchMore:
    """The preview is made in a process that serves others meanwhile."""

    def test_repeats_a_large_text(self, tmp_path: Path) -> None:
        text = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), pa.array(["x" * (4 << 20)]))
        path = parquet_of(tmp_path, note=text, x=pa.array(range(2_000)))

        assert path.stat().st_size < 1 << 20
        assert peak_bytes(path) < 64 << 20

    def test_has_large_texts_that_differ(self, tmp_path: Path) -> None:
        notes = pa.array([f"{n}{'x' * (1 << 20)}" for n in range(200)])
        path = tmp_path / "rows.parquet"
        pq.write_table(pa.table({"note": notes}), path, compression="zstd", write_batch_size=1)

        assert path.stat().st_size < 1 << 20
        assert peak_bytes(path) < 150 << 20

    def test_has_very_many_columns(self, tmp_path: Path) -> None:
        path = parquet_of(tmp_path, **{f"x{n}": pa.nulls(2_000, pa.int64()) for n in range(1_000)})

        assert read_head(path).table.num_rows == 500


def peak_bytes(path: Path) -> int:
    """How much the preview of a file needs at most, in Arrow and in Python."""
    pool = pa.system_memory_pool()
    before, default = pool.max_memory(), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        shown(path)
        return pool.max_memory() - before + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(default)


def test_five_thousand_columns_are_named_once_each() -> None:
    """Arrow makes a list of all names each time that it is asked for them: asked for each column it took seconds."""
    table = CountedTable({f"x{n}": pa.array([n]) for n in range(5_000)})
    reading = FileReading(columns=dict.fromkeys(table.names, ColumnRole.FEATURE))

    check_reading(reading, FileKind.REFERENCE, table.names)
    rewritten = rewrite(table, reading)  # type: ignore[arg-type]

    assert rewritten.num_columns == 5_000
    assert table.times_listed <= 2


class CountedTable:
    """A table that counts how often its names are listed."""

    def __init__(self, columns: dict[str, pa.Array]) -> None:
        self._table, self.times_listed = pa.table(columns), 0
        self.names, self.columns = self._table.column_names, self._table.columns

    @property
    def column_names(self) -> list[str]:
        self.times_listed += 1
        return self.names

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        return self._table[name]
