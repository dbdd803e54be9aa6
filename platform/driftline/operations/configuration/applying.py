"""Makes what there is as a document says, in one transaction, and keeps the document for comparing later."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.errors import FieldFault, Problem, invalid
from driftline.base.feature import configured_lists, configured_parts
from driftline.base.periods import parse_timestamp
from driftline.operations.configuration.document import Configuration
from driftline.operations.configuration.exporting import is_public, silence_key, unended_silences
from driftline.operations.configuration.fields import nested
from driftline.operations.configuration.items import Item, silence_item
from driftline.operations.configuration.planning import Action, ItemChange, plan
from driftline.operations.models import AppliedConfiguration
from inference.registry.models import Model
from inference.registry.selectors import get_model
from inference.registry.services import archive_model, create_model, update_model
from monitors.alerts.models import Channel
from monitors.alerts.sending.channel_services import create_channel, delete_channel, update_channel
from monitors.alerts.silences import create_silence, end_silence
from monitors.alerts.stored_routing import reset_routing, save_routing
from monitors.definitions.custom_metrics.services import change_metric, define_metric, delete_metric
from monitors.definitions.expectations import expect
from monitors.definitions.models import CustomMetric, Segment
from monitors.definitions.monitors import choose_span
from monitors.definitions.segments import change_segment, declare_segment, remove_segment, set_segments
from monitors.dependents import users_of
from monitors.rules.models import Rule
from monitors.rules.services import create_rule, delete_rule, update_rule
from monitors.workflows.services import configure_workflow

PART, LISTED = "part", "listed"
"""Of a step, in place of the kinds of what features say in a document, and of what they list."""
_DURATIONS = ("cooldown", "notify_within")


@dataclass(frozen=True)
class _Applying:
    """In which project, for whom, and the time."""

    project: Project
    actor: str
    now: datetime

    def model(self, item: Item) -> Model:
        return get_model(project=self.project, name=item.model)


type Handler = Callable[[_Applying, ItemChange], None]


def apply(
    *,
    project: Project,
    document: Configuration,
    actor: str,
    now: datetime,
    check: Callable[[list[ItemChange]], None] = lambda changes: None,
) -> list[ItemChange]:
    """Do what `plan` lists, or nothing at all. `check` may refuse the changes before any is made.

    Raises Problem, which names the item that could not be made.
    """
    context = _Applying(project, actor, now)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # one document after the other
        changes = plan(project, document)
        check(changes)
        kinds_of = {
            PART: {part.name for part in configured_parts()},
            LISTED: {listed.kind for listed in configured_lists()},
        }
        for kind, action, handler in _STEPS:
            for change in changes:
                if change.item.kind in kinds_of.get(kind, {kind}) and change.action == action:
                    _make(context, change, handler)
        AppliedConfiguration.objects.update_or_create(
            project=project,
            defaults={"document": without_secrets(document), "applied_by": actor, "applied_at": now},
        )
        record_audit(
            project=project,
            actor=actor,
            action="configuration.apply",
            subject=project.slug,
            after={"changes": [f"{change.action} {change.item}" for change in changes][:1_000]},
        )
    return changes


def without_secrets(document: Configuration) -> dict[str, Any]:
    """Return a document as it may be kept and shown: without targets that are secrets."""
    kept = document.plain()
    for channel in kept.get("channels", {}).values():
        if channel.get("target") and not is_public(channel["target"]):
            del channel["target"]
    return kept


def _make(context: _Applying, change: ItemChange, handler: Handler) -> None:
    try:
        handler(context, change)
    except Problem as problem:
        at = change.item.pointer
        faults = [FieldFault(at + one.pointer, one.code, one.detail) for one in problem.errors]
        detail = f"{change.item}: {problem.detail} Nothing was applied."
        raise Problem(problem.status, problem.code, detail, faults) from problem


# -- what belongs to the project ---------------------------------------------------------------------------------------
def _channel(context: _Applying, change: ItemChange) -> None:
    name, after = change.item.name, dict(change.after)
    if change.action is Action.CREATE:
        is_enabled = after.pop("enabled", True)
        channel, _ = create_channel(
            project=context.project, name=name, actor=context.actor, target=after.pop("target", None), **after
        )
        if not is_enabled:
            update_channel(channel=channel, actor=context.actor, enabled=False)
        return
    channel = Channel.objects.select_related("project").get(
        project=context.project, name=name, deleted_at=None
    )
    if change.action is Action.DELETE:
        delete_channel(channel=channel, actor=context.actor)
    else:
        update_channel(channel=channel, actor=context.actor, **after)


def _listed(context: _Applying, change: ItemChange) -> None:
    listed = next(one for one in configured_lists() if one.kind == change.item.kind)
    name, after = change.item.name, nested(change.after)
    if change.action is Action.CREATE:
        listed.create(context.project, name, after, context.actor)
    elif change.action is Action.CHANGE:
        listed.change(context.project, name, after, context.actor)
    else:
        listed.delete(context.project, name, context.actor)


def _part(context: _Applying, change: ItemChange) -> None:
    part = next(part for part in configured_parts() if part.name == change.item.kind)
    settings = change.after["settings"]
    if settings is None:
        part.stop(context.project, context.actor)
    else:
        part.set_up(context.project, part.schema.model_validate(settings), context.actor)


def _routing(context: _Applying, change: ItemChange) -> None:
    if change.after["tree"] is None:
        reset_routing(project=context.project, actor=context.actor)
    else:
        save_routing(project=context.project, document=change.after["tree"], actor=context.actor)


def _silence(context: _Applying, change: ItemChange) -> None:
    fields = dict(change.after)
    if change.action is Action.DELETE:
        for silence in unended_silences(context.project):
            if silence_item(*silence_key(silence))[0] == change.item:
                end_silence(silence=silence, actor=context.actor, now=context.now)
        return
    model = get_model(project=context.project, name=fields["model"]) if fields["model"] else None
    create_silence(
        project=context.project,
        model=model,
        reason=fields["reason"],
        actor=context.actor,
        matchers=fields.get("matchers"),
        start=parse_timestamp(fields["start"]),
        end=parse_timestamp(fields["end"]),
    )


# -- models ------------------------------------------------------------------------------------------------------------
def _model(context: _Applying, change: ItemChange) -> None:
    settings, parts = _split(change.after)
    if change.action is Action.CREATE:
        if "task" not in settings:
            raise invalid("/task", "A new model needs its task.", "missing_field")
        model = create_model(
            project=context.project, name=change.item.model, actor=context.actor, **parts["registry"]
        )
    else:
        model = context.model(change.item)
        if parts["registry"]:
            removed = set(model.privacy) - set(parts["registry"].get("privacy", model.privacy))
            kept = (
                {"privacy": dict.fromkeys(removed, "keep") | parts["registry"]["privacy"]} if removed else {}
            )
            update_model(model=model, actor=context.actor, **parts["registry"] | kept)
    _watch(context, model, settings, parts)


def _watch(context: _Applying, model: Model, settings: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    if "segments" in settings:
        set_segments(model=model, features=settings["segments"], actor=context.actor)
    for kind, span in parts["monitors"].items():
        monitor = model.monitors.select_related("model__project").get(kind=kind)
        choose_span(monitor=monitor, span=span, actor=context.actor)
    if "archived" in settings:
        archive_model(model=model, is_archived=settings["archived"], actor=context.actor)


def _workflow(context: _Applying, change: ItemChange) -> None:
    """Change the workflow of a model; its gate may name custom metrics of the same document."""
    if workflow := _split(change.after)[1]["workflow"]:
        configure_workflow(model=context.model(change.item), actor=context.actor, **workflow)


def _split(after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the settings of a model from those that the registry keeps, the monitors and the workflow."""
    plain = {name: value for name, value in after.items() if "." not in name}
    groups: dict[str, dict[str, Any]] = {"workflow": {}, "monitors": {}}
    for name, value in after.items():
        group, dot, field = name.partition(".")
        if dot:
            groups[group][field] = value
    registry = {name: value for name, value in plain.items() if name not in ("segments", "archived")}
    return plain, groups | {"registry": registry}


def _segment(context: _Applying, change: ItemChange) -> None:
    model, actor = context.model(change.item), context.actor
    if change.action is Action.CREATE:
        declare_segment(
            model=model, name=change.item.name, conditions=change.after["conditions"], actor=actor
        )
        return
    segment = Segment.objects.select_related("model__project").get(model=model, name=change.item.name)
    if change.action is Action.DELETE:
        remove_segment(segment=segment, actor=actor)
    else:
        change_segment(segment=segment, conditions=change.after["conditions"], actor=actor)


def _custom_metric(context: _Applying, change: ItemChange) -> None:
    model, actor = context.model(change.item), context.actor
    if change.action is Action.CREATE:
        define_metric(model=model, name=change.item.name, actor=actor, **change.after)
        return
    custom = CustomMetric.objects.select_related("model__project").get(model=model, name=change.item.name)
    change_metric(custom=custom, actor=actor, **change.after)


def _delete_unwatched_metric(context: _Applying, change: ItemChange) -> None:
    """Delete a custom metric that no rule and no margin names, so that what it reads may be hidden."""
    custom = _find_metric(context, change)
    if custom is not None and not users_of(custom):
        delete_metric(custom=custom, actor=context.actor)


def _delete_metric(context: _Applying, change: ItemChange) -> None:
    """Delete a custom metric that a rule or a margin named before this document."""
    if (custom := _find_metric(context, change)) is not None:
        delete_metric(custom=custom, actor=context.actor)


def _find_metric(context: _Applying, change: ItemChange) -> CustomMetric | None:
    model = context.model(change.item)
    return (
        CustomMetric.objects.select_related("model__project")
        .filter(model=model, name=change.item.name)
        .first()
    )


def _expectation(context: _Applying, change: ItemChange) -> None:
    said = {**change.before, **change.after} if change.after else None
    expect(model=context.model(change.item), changes={change.item.name: said}, actor=context.actor)


def _rule(context: _Applying, change: ItemChange) -> None:
    model = context.model(change.item)
    fields = {
        name: timedelta(seconds=value) if name in _DURATIONS else value
        for name, value in change.after.items()
    }
    if change.action is Action.CREATE:
        create_rule(
            project=context.project, model=model, actor=context.actor, name=change.item.name, **fields
        )
        return
    rule = Rule.objects.select_related("project", "model").get(model=model, name=change.item.name)
    if change.action is Action.DELETE:
        delete_rule(rule=rule, actor=context.actor)
    else:
        update_rule(rule=rule, actor=context.actor, **fields)


_STEPS: tuple[tuple[str, Action, Handler], ...] = (
    ("rule", Action.DELETE, _rule),  # before the segment that it watches
    ("silence", Action.DELETE, _silence),
    (
        LISTED,
        Action.DELETE,
        _listed,
    ),  # before another takes what it reads, or its place among those a project may have
    ("expectation", Action.DELETE, _expectation),
    ("segment", Action.DELETE, _segment),
    ("custom_metric", Action.DELETE, _delete_unwatched_metric),
    ("model", Action.CREATE, _model),
    ("model", Action.CHANGE, _model),
    (LISTED, Action.CHANGE, _listed),
    (LISTED, Action.CREATE, _listed),
    (PART, Action.CHANGE, _part),
    ("segment", Action.CREATE, _segment),
    ("segment", Action.CHANGE, _segment),
    ("custom_metric", Action.CREATE, _custom_metric),
    ("custom_metric", Action.CHANGE, _custom_metric),
    ("model", Action.CREATE, _workflow),  # after the custom metrics that margins name
    ("model", Action.CHANGE, _workflow),
    ("expectation", Action.CREATE, _expectation),
    ("expectation", Action.CHANGE, _expectation),
    ("rule", Action.CHANGE, _rule),
    ("rule", Action.CREATE, _rule),
    ("custom_metric", Action.DELETE, _delete_metric),  # after the rules and margins that named it
    ("channel", Action.CREATE, _channel),
    ("channel", Action.CHANGE, _channel),
    ("routing", Action.CHANGE, _routing),
    ("channel", Action.DELETE, _channel),  # after the tree that named it
    ("silence", Action.CREATE, _silence),
)
