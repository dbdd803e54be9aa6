"""Compares a document with what there is: the changes that lead from one to the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from driftline.base.feature import configured_lists
from driftline.operations.configuration.document import Configuration
from driftline.operations.configuration.exporting import read_items
from driftline.operations.configuration.items import Item
from monitors.alerts.channels.masking import mask_target
from monitors.rules.models import Rule


class Action(StrEnum):
    """What is done to an item."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"


@dataclass(frozen=True)
class ItemChange:
    """One item that is made, changed or deleted: its fields before, and those that it gets."""

    action: Action
    item: Item
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def fields(self) -> list[tuple[str, Any, Any]]:
        """List the fields with what they are and what they become, as people may see them."""
        names = self.after if self.action is not Action.DELETE else self.before
        return [(name, _shown(name, self.before), _shown(name, self.after)) for name in names]


def _shown(name: str, fields: Mapping[str, Any]) -> Any:
    value = fields.get(name)
    return mask_target(value) if name == "target" and value else value


def plan(project: Project, document: Configuration) -> list[ItemChange]:
    """List what applying a document would do, in the order of the document, deletions last. Raises Problem."""
    current = read_items(project, models=document.models)
    changes: list[ItemChange] = []
    deleted: list[ItemChange] = []
    for (kind, model), wanted in document.items():
        for item, fields in wanted.items():
            known = current.get(item)
            if known is None:
                changes.append(ItemChange(Action.CREATE, item, {}, fields))
            elif differing := {name: value for name, value in fields.items() if known.get(name) != value}:
                before = {name: known.get(name) for name in (*differing, *_lasting(item))}
                changes.append(ItemChange(Action.CHANGE, item, before, differing))
        if kind != "model":
            deleted += [
                ItemChange(Action.DELETE, item, fields, {})
                for item, fields in current.items()
                if (item.kind, item.model) == (kind, model) and item not in wanted
            ]
    _check_kinds(changes)
    _check_lasting(changes)
    return changes + deleted


def _lasting(item: Item) -> Sequence[str]:
    """Return the fields that no change makes another, and that may say which rights a change needs."""
    return next((one.lasting for one in configured_lists() if one.kind == item.kind), ())


def things_of(changes: Sequence[ItemChange]) -> dict[str, str]:
    """Return what changes need beside the right to apply any, by the item that asks for it: see `SCOPE_OF`."""
    return {
        change.item.pointer + (f"/{field}" if field else ""): thing
        for change in changes
        for field, thing in _things(change)
    }


def _things(change: ItemChange) -> list[tuple[str, str]]:
    item = change.item
    if item.kind == "model":
        made = [("", "model")] if change.action is Action.CREATE else []
        return made + [(name, _thing_of_setting(name)) for name in change.after]
    if item.kind == "rule":
        actions = (change.before.get("action"), change.after.get("action"))
        return [("", "rule.retrain" if Rule.Action.RETRAIN in actions else "rule")]
    if item.kind == "silence":
        model = (change.after or change.before)["model"]
        return [("", "silence" if model else "silence.all_models")]
    listed = next((one for one in configured_lists() if one.kind == item.kind), None)
    return [("", item.kind), *(listed.rights(change.before, change.after) if listed else ())]


def _thing_of_setting(name: str) -> str:
    group = name.partition(".")[0]
    return "monitor" if group == "monitors" else f"model.{group}"


def _check_kinds(changes: Sequence[ItemChange]) -> None:
    """Refuse to make one kind of channel out of another: it would send with another's secret."""
    for change in changes:
        if change.item.kind == "channel" and change.action is Action.CHANGE and "kind" in change.after:
            raise Problem(
                422,
                "channel_kind_stays",
                f"The channel {change.item.name!r} is of the kind {change.before['kind']}; delete it, or name the new "
                "one otherwise.",
            )


def _check_lasting(changes: Sequence[ItemChange]) -> None:
    """Refuse to make one thing out of another, such as a source of which the positions are of what it read so far."""
    for change in changes:
        if change.action is not Action.CHANGE:
            continue
        if lasting := next((name for name in _lasting(change.item) if name in change.after), None):
            kind = change.item.kind
            raise Problem(
                422,
                f"{kind}_stays",
                f"The {lasting.rpartition('.')[2]} of the {kind} {change.item.name!r} stays; delete it, or name the "
                "new one otherwise.",
            )
