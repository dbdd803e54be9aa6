"""Tables that are kept as Parquet under the digest of their bytes."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from inference.registry.files.datasets import write_table


def test_the_same_table_again_is_the_same_file_which_is_not_written_again(
    settings: Any, tmp_path: Path
) -> None:
    settings.HOME = tmp_path
    table = pa.table({"income": [1.5, 2.5], "region": ["north", "south"]})
    path, sha256 = write_table(table)
    inode = path.stat().st_ino

    again = write_table(table)

    assert again == (path, sha256)
    assert path.stat().st_ino == inode
    assert list(path.parent.iterdir()) == [path]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    assert pq.read_table(path) == table
