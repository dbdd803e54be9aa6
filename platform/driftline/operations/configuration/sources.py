"""Sources in a document: without secrets, and each field of settings and mapping by a name of its own."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from driftline.base.http.bodies import Body
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.kinds import SourceSettings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.reading.adapters import mapping_of, settings_of

_GROUPS = ("settings", "mapping")
LASTING_FIELDS = ("model", "what", "settings.kind")
"""What a source is, which no change makes another."""


class SourceConfig(Body):
    """A source; its secrets are given to the API or on its page, and stay as they are."""

    model: str = Field(max_length=100)
    what: Literal["predictions", "labels"]
    settings: SourceSettings
    mapping: SourceMapping = SourceMapping()
    enabled: bool = True


def given_fields(source: SourceConfig) -> dict[str, Any]:
    """Return how a document describes a source, flat, without a consumer group that Driftline chooses."""
    given = source.model_dump(mode="json", exclude_unset=True)
    return _without_own_group({"settings.kind": source.settings.kind} | _flat(given))


def stored_fields(source: Source) -> dict[str, Any]:
    """Return what a source is, flat; a consumer group that Driftline made belongs to this installation alone."""
    settings = settings_of(source)
    document = settings.model_dump(mode="json")
    if isinstance(settings, KafkaSettings) and settings.has_own_group:
        document["group"] = ""
    fields = {
        "model": source.model.name,
        "what": source.what,
        "settings": document,
        "mapping": mapping_of(source).model_dump(mode="json"),
        "enabled": source.enabled,
    }
    return _without_own_group(_flat(fields))


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Write flat fields as the document has them."""
    written: dict[str, Any] = {}
    for name, value in fields.items():
        group, dot, field = name.partition(".")
        if dot:
            written.setdefault(group, {})[field] = value
        else:
            written[name] = value
    return written


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in document.items() if name not in _GROUPS}
    return plain | {
        f"{group}.{name}": value for group in _GROUPS for name, value in document.get(group, {}).items()
    }


def _without_own_group(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "settings.group" or value}
