"""What a file to be imported looks like to those who read it: blocks of rows, and a place to go on from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BLOCK_ROWS = 20_000  # of one commit: enough that its cost disappears, few enough for constant memory
BLOCK_CELLS = 2_000_000  # of wide files fewer rows
MAX_COLUMNS = 5_000


class UnreadableFile(Exception):
    """The file cannot be read on: it is damaged, or holds what nobody can keep in memory."""


@dataclass(frozen=True)
class FilePosition:
    """A place between two rows; `offset` counts bytes of a CSV and rows of a Parquet file."""

    offset: int
    rows: int = 0
    lines: int = 0


@dataclass(frozen=True)
class TornRow:
    """A row that has not as many cells as the header."""

    place: int
    detail: str


@dataclass(frozen=True)
class Block:
    """Rows that follow each other in the file. A place is a row's index in the block, torn and blank ones counted."""

    table: pa.Table
    places: NDArray[np.int64]  # of the table's rows
    torn: Sequence[TornRow]
    start: FilePosition
    end: FilePosition
    lines: NDArray[np.int64] | None  # on which line of a CSV each place begins
    cells_of: Callable[[int], list[str]]  # a place's cells as the file has them


class RowSource(Protocol):
    """An open file."""

    @property
    def names(self) -> list[str]: ...

    @property
    def start(self) -> FilePosition: ...

    @property
    def total(self) -> int: ...

    def sample(self) -> pa.Table:
        """Return the columns with the types that they have or seem to have."""

    def blocks(self, start: FilePosition, types: dict[str, pa.DataType]) -> Iterator[Block]:
        """Read from `start` on; a CSV's columns come as `types` where every cell fits, else as text."""


def block_rows(columns: int) -> int:
    """Return how many rows a block has at most."""
    return max(1, min(BLOCK_ROWS, BLOCK_CELLS // max(columns, 1)))
