"""Upload the data that a version was trained on, with which its windows are then compared."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, sleep
from typing import IO, Any

import httpx

from driftline_client.errors import DriftlineError
from driftline_client.files import CSV, PARQUET, POLL_SECONDS, Destination, open_file, upload
from driftline_client.frames import families_of, load
from driftline_client.sending.transport import poll


@dataclass(frozen=True)
class Reference:
    """A reference as Driftline has it; `state` is `building`, `ready` or `failed`."""

    id: int
    version: str
    state: str
    rows: int
    columns: list[str]
    error: str | None

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> "Reference":
        """Read the API's description."""
        return cls(**{name: answer[name] for name in cls.__dataclass_fields__})


def upload_reference(
    client: httpx.Client, to: Destination, source: Any, wait_s: float, positive_class: str = ""
) -> Reference:
    """Send a file or a frame, and wait up to `wait_s` until Driftline has made a reference of it."""
    with _opened(source) as (file, kind):
        reference = Reference.read(upload(client, "PUT", to, file, kind, positive_class=positive_class))
    deadline = monotonic() + wait_s
    while reference.state == "building" and monotonic() < deadline:
        sleep(POLL_SECONDS)
        reference = Reference.read(poll(client, to.path, params=to.parameters))
    if reference.state == "failed":
        raise DriftlineError(f"Driftline could not make a reference of it: {reference.error}")
    return reference


@contextmanager
def _opened(source: Any) -> Iterator[tuple[IO[bytes], str]]:
    """Open a file by its path, or write a frame to one."""
    if isinstance(source, (str, os.PathLike)):
        with open_file(source) as opened:
            yield opened
        return
    with tempfile.TemporaryFile() as written:
        kind = _write(source, written)
        written.flush()
        yield written, kind


def _write(frame: Any, file: IO[bytes]) -> str:
    """Write a frame as Parquet where the caller has what that needs, as CSV otherwise; gives the media type."""
    families = families_of(frame)
    if "polars" in families and hasattr(frame, "collect"):
        frame = frame.collect()
    if "polars" in families and hasattr(frame, "write_parquet"):
        frame.write_parquet(file)
        return PARQUET
    pyarrow = load("pyarrow")
    if "pandas" in families and hasattr(frame, "to_parquet"):
        if pyarrow:
            frame.to_parquet(file, engine="pyarrow", index=False)
            return PARQUET
        frame.to_csv(file, index=False)
        return CSV
    if pyarrow and (hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__")):
        load("pyarrow.parquet").write_table(pyarrow.table(frame), file)
        return PARQUET
    raise DriftlineError(
        f"A {type(frame).__name__} cannot be written as Parquet here; give a path, a frame of pandas or polars, or "
        "an Arrow table with pyarrow installed."
    )
