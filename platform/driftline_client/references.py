"""Upload the data that a version was trained on, with which its windows are then compared."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any

import httpx

from driftline_client.errors import DriftlineError
from driftline_client.frames import families_of, load
from driftline_client.transport import ask, checked, json_object, making_model, unanswered

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
TYPES = {".csv": CSV, ".parquet": PARQUET, ".pq": PARQUET}
UPLOAD_SECONDS = 300.0
POLL_SECONDS = 0.5


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


@dataclass(frozen=True)
class Destination:
    """The model whose reference it is; with a `task` it is made where there is none."""

    path: str
    model: str
    task: str | None
    version: str | None


def upload_reference(client: httpx.Client, to: Destination, source: Any, wait_s: float) -> Reference:
    """Send a file or a frame, and wait up to `wait_s` until Driftline has made a reference of it."""
    where = {"version": to.version} if to.version is not None else {}
    with _opened(source) as (file, kind):
        reference = Reference.read(_send(client, to, where, file, kind))
    deadline = monotonic() + wait_s
    while reference.state == "building" and monotonic() < deadline:
        sleep(POLL_SECONDS)
        reference = Reference.read(ask(client, "GET", to.path, params=where).json())
    if reference.state == "failed":
        raise DriftlineError(f"Driftline could not make a reference of it: {reference.error}")
    return reference


def _send(
    client: httpx.Client, to: Destination, where: dict[str, str], file: IO[bytes], kind: str
) -> dict[str, Any]:
    headers = {"Content-Type": kind, "Content-Length": str(os.fstat(file.fileno()).st_size)}

    def put() -> httpx.Response:
        file.seek(0)
        return client.put(to.path, params=where, content=file, headers=headers, timeout=UPLOAD_SECONDS)

    try:
        answer = making_model(client, to.model, to.task, put)
    except httpx.TransportError as error:
        raise unanswered(error) from error
    return json_object(checked(answer))


@contextmanager
def _opened(source: Any) -> Iterator[tuple[IO[bytes], str]]:
    """Open a file by its path, or write a frame to one."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.suffix.lower() not in TYPES:
            raise DriftlineError(
                f"{path.name} is neither .csv nor .parquet; save the reference as one of them."
            )
        try:
            file = path.open("rb")
        except OSError as error:
            raise DriftlineError(f"The reference {path} cannot be read: {error.strerror}.") from error
        with file:
            yield file, TYPES[path.suffix.lower()]
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
