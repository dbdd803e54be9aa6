"""Upload a CSV or Parquet file, and follow the import of one that holds predictions or labels."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import sleep
from typing import IO, Any, Literal

import httpx

from driftline_client.errors import DriftlineError
from driftline_client.sending.transport import checked, json_object, making_model, poll, unanswered

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
TYPES = {".csv": CSV, ".parquet": PARQUET, ".pq": PARQUET}
UPLOAD_SECONDS = 300.0
POLL_SECONDS = 0.5
UNFINISHED = ("queued", "running")

Kind = Literal["predictions", "labels"]
Import = dict[str, Any]
"""An import as the API describes it: `id`, `state`, `progress`, `rows`, `accepted`, `rejected`, `error` ..."""


@dataclass(frozen=True)
class Destination:
    """The model that a file is about; with a `task` it is created where there is none."""

    path: str
    model: str
    task: str | None
    version: str | None

    @property
    def parameters(self) -> dict[str, str]:
        """Return what names the version in a URL."""
        return {"version": self.version} if self.version is not None else {}


def start_import(client: httpx.Client, path: str | os.PathLike[str], to: Destination, kind: Kind) -> Import:
    """Upload a file of predictions or labels with the columns of docs/guides/send-data.md, and return its import.

    Raises DriftlineError where the file is refused.
    """
    with open_file(path) as (file, media_type):
        return upload(client, "POST", replace(to, path=f"{to.path}/imports/{kind}"), file, media_type)


def follow_import(
    client: httpx.Client, to: Destination, job: Import, progress: Callable[[Import], object] | None = None
) -> Import:
    """Wait until an import has ended and return it; raises DriftlineError for one that failed.

    `progress` is called with the import each time that it has been looked at.
    """
    while job["state"] in UNFINISHED:
        if progress is not None:
            progress(job)
        sleep(POLL_SECONDS)
        job |= poll(client, f"{to.path}/imports/{job['id']}")
    if job["state"] != "done":
        reason = job["error"] or "send the file again to start a new one"
        raise DriftlineError(f"Import {job['id']} of {job['file']} {job['state']}: {reason}")
    return job


def upload(
    client: httpx.Client,
    method: str,
    to: Destination,
    file: IO[bytes],
    media_type: str,
    *,
    name: str = "",
    **more: str,
) -> dict[str, Any]:
    """Send an open file, with its `name` as a part of a form and `more` parameters, and return the API's answer."""
    parameters = to.parameters | {key: value for key, value in more.items() if value}
    headers = {"Content-Type": media_type, "Content-Length": str(os.fstat(file.fileno()).st_size)}
    body: dict[str, Any] = {"content": file, "headers": headers}
    if name:
        body = {"files": {"file": (name, file, media_type)}}

    def send() -> httpx.Response:
        file.seek(0)
        return client.request(method, to.path, params=parameters, timeout=UPLOAD_SECONDS, **body)

    try:
        answer = making_model(client, to.model, to.task, send)
    except httpx.TransportError as error:
        raise unanswered(error) from error
    return json_object(checked(answer))


@contextmanager
def open_file(path: str | os.PathLike[str], otherwise: str = "") -> Iterator[tuple[IO[bytes], str]]:
    """Open a CSV or Parquet file, and yield it with its media type; of another suffix it has the type `otherwise`."""
    path = Path(path)
    media_type = TYPES.get(path.suffix.lower(), otherwise)
    if not media_type:
        raise DriftlineError(f"{path.name} is neither .csv nor .parquet; save it as one of them.")
    try:
        file = path.open("rb")
    except OSError as error:
        raise DriftlineError(f"The file {path} cannot be read: {error.strerror}.") from error
    with file:
        yield file, media_type
