"""What a configuration is made of: items by kind, model and name, each with its fields as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from driftline.base.feature import configured_lists
from driftline.base.strict_json import escape_pointer

_LIST_OF = {
    "channel": "channels",
    "routing": "routing",
    "silence": "silences",
    "segment": "declared_segments",
    "custom_metric": "custom_metrics",
    "expectation": "expectations",
    "rule": "rules",
}


@dataclass(frozen=True, order=True)
class Item:
    """One thing that a configuration names; `model` is empty for what belongs to the project."""

    kind: str
    model: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {'/'.join(part for part in (self.model, self.name) if part)}"

    @property
    def pointer(self) -> str:
        """Where it stands in the document, as a JSON pointer."""
        lists = _LIST_OF | {one.kind: one.name for one in configured_lists()}
        within = (
            [lists.get(self.kind, self.kind), *([self.name] if self.name else [])]
            if self.kind != "model"
            else []
        )
        parts = ["models", self.model, *within] if self.model else within
        return "".join(f"/{escape_pointer(part)}" for part in parts)


type Items = Mapping[Item, dict[str, Any]]


def channel_item(name: str) -> Item:
    """Return the item of a channel."""
    return Item("channel", "", name)


def listed_item(kind: str, name: str) -> Item:
    """Return the item of what a feature lists under names, such as a source."""
    return Item(kind, "", name)


ROUTING = Item("routing", "", "")
"""The routing tree of the project; it is always there."""


def part_item(name: str) -> Item:
    """Return the item of what a project has at most one of; its settings are null where it has none."""
    return Item(name, "", "")


def model_item(name: str) -> Item:
    """Return the item of a model's settings."""
    return Item("model", name, "")


def part_of_model(kind: str, model: str, name: str) -> Item:
    """Return the item of a segment, a custom metric, an expectation or a rule."""
    return Item(kind, model, name)


def silence_item(
    model: str | None, start: str, end: str, reason: str, matchers: Mapping[str, str]
) -> tuple[Item, dict[str, Any]]:
    """Return the item of a silence with its fields: it is what it says, and is never changed."""
    labels = "".join(f", {name}={matchers[name]}" for name in sorted(matchers))
    fields: dict[str, Any] = {"model": model, "start": start, "end": end, "reason": reason}
    if matchers:
        fields["matchers"] = dict(matchers)
    return Item("silence", "", f"{reason} ({model or 'all models'}{labels}, {start} to {end})"), fields
