"""The rows that trainers and pipelines get: read a batch at a time, however many there are."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitors.workflows.starting.snapshots import HOLDOUT, TIME_TYPE, TRAIN
from monitors.workflows.starting.training import read_split

pytestmark = pytest.mark.slow

GROUPS, GROUP_ROWS = 20, 50_000


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of 20 row groups of 1 MB that do not compress; every fifth row is held out."""
    path = tmp_path_factory.mktemp("snapshot") / "snapshot.parquet"
    rng = np.random.default_rng(1)
    places = np.arange(GROUP_ROWS)
    columns = {
        "wind": pa.array(rng.random(GROUP_ROWS)),
        "timestamp": pa.array(places, pa.int64()).cast(TIME_TYPE),
        "label": pa.array(["late"] * GROUP_ROWS),
        "version_id": pa.array(places, pa.int64()),
        "prediction": pa.array(["late"] * GROUP_ROWS),
        "score": pa.array(np.zeros(GROUP_ROWS)),
        "split": pa.array(np.where(places % 5 == 4, HOLDOUT, TRAIN)),
    }
    table = pa.table(columns)
    with pq.ParquetWriter(path, table.schema) as writer:
        for _ in range(GROUPS):
            writer.write_table(table)
    return path


def test_are_those_of_the_split_without_what_no_trainer_sees(snapshot: Path) -> None:
    first, *batches = read_split(snapshot, TRAIN, 10_000)

    assert first.num_rows == 0
    assert first.column_names == ["wind", "label", "time"]
    assert sum(batch.num_rows for batch in batches) == GROUPS * GROUP_ROWS * 4 // 5
    assert max(batch.num_rows for batch in batches) <= 10_000
    whole = pq.read_table(snapshot, filters=[("split", "==", TRAIN)])
    np.testing.assert_array_equal(pa.concat_tables(batches)["wind"].to_numpy(), whole["wind"].to_numpy())


def test_do_not_add_up_in_memory(snapshot: Path) -> None:
    before = pa.total_allocated_bytes()

    held = [pa.total_allocated_bytes() - before for _ in read_split(snapshot, TRAIN, 10_000)]

    assert max(held) < snapshot.stat().st_size / 2
