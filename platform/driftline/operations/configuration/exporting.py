"""Reads what a project is configured as, and writes it as one document."""

from collections.abc import Collection, Iterator
from typing import Any

from msgspec import to_builtins

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.feature import configured_lists, configured_parts
from driftline.base.periods import rfc3339
from driftline.operations.configuration.fields import flat, nested
from driftline.operations.configuration.items import (
    ROUTING,
    Item,
    Items,
    channel_item,
    listed_item,
    model_item,
    part_item,
    part_of_model,
    silence_item,
)
from inference.registry.models import Model
from inference.registry.settings import ModelSettings
from monitors.alerts.channels.masking import mask_target
from monitors.alerts.channels.webhook.formats import TEMPLATE
from monitors.alerts.models import Channel, Silence
from monitors.alerts.sending.channel_services import NEEDS_TARGET
from monitors.alerts.silences import ENDED, with_states
from monitors.alerts.stored_routing import routing_of
from monitors.definitions.custom_metrics.services import describe_metric
from monitors.definitions.expectations import describe_expectation
from monitors.definitions.models import Monitor
from monitors.definitions.monitors import AUTO
from monitors.rules.models import Rule
from monitors.rules.services import IN_CONDITION
from monitors.workflows.models import Workflow
from monitors.workflows.rollouts.plan import RolloutPlan
from monitors.workflows.settings import WorkflowSettings

MODEL_FIELDS = ("task", *ModelSettings.model_fields)
RULE_FIELDS = (
    "metric", "feature", "segment", "condition", "span", "operator", "threshold", "for_windows", "of_windows",
    "recovery_threshold", "critical_threshold", "recover_windows", "min_rows", "no_data", "severity", "action",
    "enabled", "description", "owner", "runbook",
)  # fmt: skip
WORKFLOW_FIELDS = tuple(WorkflowSettings.model_fields)


def read_items(project: Project, models: Collection[str] | None = None) -> dict[Item, dict[str, Any]]:
    """Read every item of a project, or what belongs to the project and to these models."""
    items: dict[Item, dict[str, Any]] = {}
    for channel in Channel.objects.filter(project=project, deleted_at=None).order_by("name"):
        items[channel_item(channel.name)] = _channel(channel)
    routing = routing_of(project)
    items[ROUTING] = {"tree": None if routing.is_default else routing.document.plain()}
    for silence in unended_silences(project):
        item, fields = silence_item(*silence_key(silence))
        items[item] = fields
    for listed in configured_lists():
        for name, stored in listed.stored(project):
            items[listed_item(listed.kind, name)] = flat(stored, listed.groups)
    for part in configured_parts():
        items[part_item(part.name)] = {"settings": part.describe(project)}
    chosen = Model.objects.filter(project=project).select_related("workflow")
    chosen = chosen.prefetch_related(
        "monitors", "segment_features", "segments", "custom_metrics", "expectations", "rules"
    )
    for model in (chosen if models is None else chosen.filter(name__in=models)).order_by("name"):
        items[model_item(model.name)] = _model(model)
        items |= dict(_parts(model))
    return items


def export(project: Project, *, with_targets: bool = True) -> dict[str, Any]:
    """Write what there is as a document; targets that are no secret, and templates, are in it for who may change
    channels."""
    items = read_items(project)
    of_models: dict[str, dict[Item, dict[str, Any]]] = {}
    for item, fields in items.items():
        if item.model:
            of_models.setdefault(item.model, {})[item] = fields
    return {
        "version": 1,
        "channels": {
            item.name: {
                name: value
                for name, value in fields.items()
                if name not in ("target", "template")
                or (with_targets and (name != "target" or is_public(value)))
            }
            for item, fields in items.items()
            if item.kind == "channel"
        },
        "routing": items[ROUTING]["tree"],
        "silences": [fields for item, fields in items.items() if item.kind == "silence"],
        **{
            listed.name: {
                item.name: nested(fields) for item, fields in items.items() if item.kind == listed.kind
            }
            for listed in configured_lists()
        },
        **{part.name: items[part_item(part.name)]["settings"] for part in configured_parts()},
        "models": {name: _nested(name, of_model) for name, of_model in of_models.items()},
    }


def is_public(target: str) -> bool:
    """Return whether a target is no secret, such as an e-mail address."""
    return mask_target(target) == target


def unended_silences(project: Project) -> list[Silence]:
    """List the silences that are active or coming, in the order of their times."""
    silences = Silence.objects.filter(project=project).select_related("model").order_by("start", "end", "pk")
    return [silence for state, silence in with_states(silences, now=now()) if state != ENDED]


def silence_key(silence: Silence) -> tuple[str | None, str, str, str, dict[str, str]]:
    """Return what names a silence: its model, its times, its reason and the labels that it asks for."""
    model = silence.model.name if silence.model else None
    return model, rfc3339(silence.start), rfc3339(silence.end), silence.reason, silence.matchers


def _channel(channel: Channel) -> dict[str, Any]:
    is_wanted = channel.enabled or channel.disabled_reason == NEEDS_TARGET
    target = {"target": channel.target} if channel.target else {}
    template = channel.template if channel.payload_format == TEMPLATE else None
    of_webhook = {"payload_format": channel.payload_format, "template": template}
    return {
        "kind": channel.kind,
        **target,
        **(of_webhook if channel.kind == "webhook" else {}),
        "min_severity": channel.min_severity,
        "events": channel.events,
        "enabled": is_wanted,
    }


def _model(model: Model) -> dict[str, Any]:
    workflow = model.workflow if hasattr(model, "workflow") else Workflow(model=model)
    return {
        **{name: getattr(model, name) for name in MODEL_FIELDS},
        "archived": model.archived_at is not None,
        "segments": sorted(one.feature for one in model.segment_features.all()),
        **{f"workflow.{name}": getattr(workflow, name) for name in WORKFLOW_FIELDS},
        "workflow.rollout": RolloutPlan.parse(workflow.rollout).as_json(),
        **{
            f"monitors.{one.kind}": _span(one)
            for one in sorted(model.monitors.all(), key=lambda one: one.kind)
        },
    }


def _span(monitor: Monitor) -> str:
    return monitor.span if monitor.is_span_chosen else AUTO


def _parts(model: Model) -> Iterator[tuple[Item, dict[str, Any]]]:
    for segment in sorted(model.segments.all(), key=lambda one: one.name):
        yield (
            part_of_model("segment", model.name, segment.name),
            {"conditions": list(to_builtins(segment.parsed))},
        )
    for custom in sorted(model.custom_metrics.all(), key=lambda one: one.name):
        yield part_of_model("custom_metric", model.name, custom.name), describe_metric(custom)
    for expectation in sorted(model.expectations.all(), key=lambda one: one.feature):
        fields = dict(describe_expectation(expectation))
        yield part_of_model("expectation", model.name, expectation.feature), fields
    for rule in sorted(model.rules.all(), key=lambda one: one.name):
        yield part_of_model("rule", model.name, rule.name), rule_fields(rule)


def rule_fields(rule: Rule) -> dict[str, Any]:
    """Return the fields of a rule, of one with a condition those that it does not say; durations are seconds of event
    time."""
    said = IN_CONDITION if rule.condition is not None else ()
    return {
        **{name: getattr(rule, name) for name in RULE_FIELDS if name not in said},
        "cooldown": rule.cooldown.total_seconds(),
        "notify_within": rule.notify_within.total_seconds(),
    }


def _nested(model: str, items: Items) -> dict[str, Any]:
    """Write one model as the document has it: settings, groups of settings, and the parts by their names."""
    written = nested(items[model_item(model)])
    for kind, field in (
        ("expectation", "expectations"),
        ("segment", "declared_segments"),
        ("custom_metric", "custom_metrics"),
        ("rule", "rules"),
    ):
        parts = {item.name: fields for item, fields in items.items() if item.kind == kind}
        written[field] = {name: _written_part(kind, fields) for name, fields in parts.items()}
    return written


def _written_part(kind: str, fields: dict[str, Any]) -> Any:
    if kind == "segment":
        return [
            {
                name: value
                for name, value in condition.items()
                if value not in ("", None) and value is not False
            }
            for condition in fields["conditions"]
        ]
    return {name: value for name, value in fields.items() if kind != "expectation" or value is not None}
