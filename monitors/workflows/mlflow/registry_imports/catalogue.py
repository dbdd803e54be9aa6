"""What MLflow's registry holds: its registered models, and the versions of one, read page by page up to a bound."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from driftline.base.outbound.json_calls import text_at, value_at
from driftline.base.outbound.transport import RequestFailed
from driftline.base.work.leased_work import WorkFailed
from monitors.workflows.mlflow.client import RegisteredModel, call_mlflow, version_number

PAGE_SIZE = 100
MAX_LOOKED_AT = 10_000
MAX_MODELS = 400
MAX_VERSIONS_LOOKED_AT = 1_000
MAX_NAME_LETTERS = 250
LISTING_SECONDS = 600.0  # less than a task may take
MAX_TOKEN_LETTERS = 4_000


@dataclass(frozen=True)
class ListedVersion:
    """A version as MLflow lists it; `is_production` is of the stage that came before aliases."""

    number: str
    status: str
    is_production: bool


def list_models(server: str, secret: str, search: str = "") -> list[str]:
    """List the names of the registered models that hold `search`.

    Raises `RequestFailed`, and WorkFailed for a registry that has too many of them.
    """
    found: list[str] = []
    entries = _pages(server, secret, "registered-models/search", "registered_models", {})
    for looked_at, entry in enumerate(entries, start=1):
        name = text_at(entry, "name")
        if search.casefold() in name.casefold():
            found.append(name)
        if len(found) > MAX_MODELS or looked_at > MAX_LOOKED_AT:
            raise WorkFailed(
                f"There are more than {MAX_MODELS if len(found) > MAX_MODELS else MAX_LOOKED_AT:,} registered models; "
                "give a part of their names, and import them in several turns."
            )
    return [name for name in dict.fromkeys(found) if len(name) <= MAX_NAME_LETTERS and name.isprintable()]


def list_versions(registry: RegisteredModel) -> list[ListedVersion]:
    """List the versions of a registered model, the newest first.

    Raises `RequestFailed`, and WorkFailed for a model that has too many of them, or a name that cannot be asked for.
    """
    quote = next((mark for mark in ("'", '"') if mark not in registry.name), None)
    if quote is None:
        raise WorkFailed(
            "Its name holds both kinds of quotation marks, so MLflow cannot be asked for its versions."
        )
    query = {"filter": f"name={quote}{registry.name}{quote}"}
    found: list[ListedVersion] = []
    for entry in _pages(registry.url, registry.secret, "model-versions/search", "model_versions", query):
        if value_at(entry, "name") != registry.name:
            continue
        number = version_number(text_at(entry, "version"))
        stage = value_at(entry, "current_stage")
        found.append(
            ListedVersion(
                number, text_at(entry, "status"), isinstance(stage, str) and stage.lower() == "production"
            )
        )
        if len(found) > MAX_VERSIONS_LOOKED_AT:
            raise WorkFailed(f"It has more than {MAX_VERSIONS_LOOKED_AT:,} versions; follow it instead.")
    return sorted(found, key=lambda version: -int(version.number))


def _pages(server: str, secret: str, path: str, field: str, query: dict[str, str]) -> Iterator[Any]:
    """Yield the entries of each page; a server that names the same next page for ever ends at the deadline."""
    ends_at = time.monotonic() + LISTING_SECONDS
    token = ""
    while True:
        values = query | {"max_results": str(PAGE_SIZE)} | ({"page_token": token} if token else {})
        answer = call_mlflow(server, secret, "GET", path, values)
        entries = answer.get(field)
        if not isinstance(entries, list | None):
            raise RequestFailed(f"The service's answer has no list of {field}; is it MLflow?")
        yield from entries or []
        following = answer.get("next_page_token")
        if not isinstance(following, str) or not following:
            return
        if following == token or not entries or len(following) > MAX_TOKEN_LETTERS:
            raise RequestFailed("The service's next page is the same one again; is it MLflow?")
        if time.monotonic() > ends_at:
            raise RequestFailed(f"The registry was not listed within {LISTING_SECONDS:g} s.")
        token = following
