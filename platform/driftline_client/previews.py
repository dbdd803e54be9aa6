"""Send a file as it is: Driftline finds out how it is written, and you say what its columns are where it cannot."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from driftline_client.errors import DriftlineError
from driftline_client.files import CSV, UPLOAD_SECONDS, Destination, open_file, upload
from driftline_client.sending.transport import ask, json_object


def preview_file(client: httpx.Client, source: str | os.PathLike[str], to: Destination) -> dict[str, Any]:
    """Upload a file for a model, and return what Driftline found in it; nothing of it is stored yet."""
    to = replace(to, path=f"{to.path}/files", version=None)
    with open_file(source, otherwise=CSV) as (file, media_type):
        return upload(client, "POST", to, file, media_type, name=Path(source).name)


def preview_again(
    client: httpx.Client, to: Destination, file: Mapping[str, Any], choice: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the file will be stored as with another choice. One that does not fit it goes."""
    return _choose(client, to, file, "preview", choice)


def confirm_file(
    client: httpx.Client, to: Destination, file: Mapping[str, Any], choice: Mapping[str, Any]
) -> dict[str, Any]:
    """Store a file that was previewed; what `choice` leaves out stays as it was guessed. One that is refused goes."""
    return _choose(client, to, file, "confirm", choice)


def _choose(
    client: httpx.Client, to: Destination, file: Mapping[str, Any], verb: str, choice: Mapping[str, Any]
) -> dict[str, Any]:
    path = f"{to.path}/files/{file['id']}/{verb}"
    try:
        return json_object(ask(client, "POST", path, json=dict(choice), timeout=UPLOAD_SECONDS))
    except DriftlineError:
        discard_file(client, to, file)
        raise


def discard_file(client: httpx.Client, to: Destination, file: Mapping[str, Any]) -> None:
    """Ask Driftline to forget a file that waits; it does so by itself after a day."""
    with suppress(DriftlineError):
        ask(client, "DELETE", f"{to.path}/files/{file['id']}")
