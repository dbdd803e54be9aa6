"""What a pack consists of: sections with sentences and tables, plain enough to be written as JSON and as a page."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from driftline.base.periods import Period
from inference.registry.models import Model

MAX_TABLE_ROWS = 1_000

type Cell = str | int | float | bool | datetime | Mapping[str, Any] | Sequence[Any] | None


@dataclass(frozen=True)
class EvidenceSubject:
    """What a pack is about: a model in a period, as it is known at `now`."""

    model: Model
    period: Period
    now: datetime


@dataclass(frozen=True)
class EvidenceTable:
    """Rows by column; `columns` maps the key of a cell to its heading. `left_out` rows were too many.

    Columns of `only_json` are for programs: another column says the same for people.
    """

    title: str
    columns: Mapping[str, str]
    rows: Sequence[Mapping[str, Cell]]
    left_out: int = 0
    only_json: Collection[str] = ()


@dataclass(frozen=True)
class EvidenceSection:
    """One part of a pack; `key` names it in JSON."""

    key: str
    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[EvidenceTable] = ()


def table(
    title: str,
    columns: Mapping[str, str],
    rows: Iterable[Sequence[Cell]],
    *,
    total: int | None = None,
    only_json: Collection[str] = (),
) -> EvidenceTable:
    """Make a table of at most `MAX_TABLE_ROWS` rows, given in the order of the columns; `total` is how many there are,
    where not all are given."""
    given = iter(rows)
    cells = [dict(zip(columns, row, strict=True)) for row in islice(given, MAX_TABLE_ROWS)]
    left_out = sum(1 for _ in given) if total is None else max(total - len(cells), 0)
    return EvidenceTable(title, columns, cells, left_out, only_json)
