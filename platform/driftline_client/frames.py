"""Read pandas, polars and Arrow frames without importing any of them: the caller has what its frame is made of."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from driftline_client.errors import DriftlineError

ROWS_AT_ONCE = 1_000


class Tabular(Protocol):
    """A frame of pandas or polars, or an Arrow table."""

    @property
    def columns(self) -> Any: ...


@dataclass(frozen=True)
class Frame:
    """Named columns of `rows` values; `values(place, start, stop)` gives a part of one as Python's own."""

    names: list[str]
    rows: int
    values: Callable[[int, int, int], list[Any]]

    def check(self, names: Sequence[str]) -> None:
        """Raise DriftlineError for a column that is not there, or there twice."""
        for name in names:
            found = self.names.count(name)
            if found != 1:
                raise DriftlineError(
                    f"The frame has {found or 'no'} columns {name!r}; it has {', '.join(self.names)}."
                )

    def parts(self, names: Sequence[str]) -> Iterator[tuple[int, list[list[Any]]]]:
        """Yield some columns a thousand rows at a time, each time with the number of the first row."""
        places = [self.names.index(name) for name in names]
        for start in range(0, self.rows, ROWS_AT_ONCE):
            stop = min(start + ROWS_AT_ONCE, self.rows)
            yield start, [self.values(place, start, stop) for place in places]


def read_frame(frame: Any) -> Frame:
    """Read a frame of pandas or polars, or anything that exports Arrow data (the PyCapsule interface)."""
    families = families_of(frame)
    if "pandas" in families and hasattr(frame, "iloc"):
        names = [str(name) for name in frame.columns]
        return Frame(names, len(frame), lambda place, a, b: frame.iloc[a:b, place].tolist())
    if "polars" in families and hasattr(frame, "collect"):
        frame = frame.collect()
    if "polars" in families and hasattr(frame, "to_series"):
        return _read_polars(frame)
    if hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__"):
        return _read_arrow(frame)
    raise DriftlineError(
        f"A {type(frame).__name__} is no frame; give one of pandas or polars, or an Arrow table (for example "
        "pandas.DataFrame(rows))."
    )


def is_frame(value: Any) -> bool:
    """Return whether a value is a table, as frames of pandas and polars and Arrow tables are, not a Series or array."""
    return hasattr(type(value), "columns")  # of the class: a LazyFrame has to work to know its own


def families_of(frame: Any) -> set[str]:
    """Name the packages that an object's classes come from."""
    return {base.__module__.partition(".")[0] for base in type(frame).__mro__}


def load(package: str) -> Any:
    """Import a package that the caller may have; None where it has not."""
    try:
        return import_module(package)
    except ImportError:
        return None


def _read_polars(frame: Any) -> Frame:
    return Frame(
        list(frame.columns),
        frame.height,
        lambda place, a, b: frame.to_series(place).slice(a, b - a).to_list(),
    )


def _read_arrow(frame: Any) -> Frame:
    if pyarrow := load("pyarrow"):
        table = pyarrow.table(frame)
        names = list(table.column_names)
        return Frame(names, len(table), lambda place, a, b: table.column(place).slice(a, b - a).to_pylist())
    if polars := load("polars"):
        return _read_polars(polars.DataFrame(frame))
    raise DriftlineError(f"Reading a {type(frame).__name__} needs pyarrow or polars; install one of them.")
