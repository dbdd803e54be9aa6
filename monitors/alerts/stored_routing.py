"""The routing tree of a project: read it, store another one, and keep it in step with the names of channels."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from django.db import transaction

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem
from driftline.base.work.task_queue import Task, enqueue
from monitors.alerts.channels.callback import CALLBACK
from monitors.alerts.models import Channel, ChannelTimer, Incident, StoredRouting
from monitors.alerts.routing.document import RoutingIn
from monitors.alerts.routing.parsing import default_document, parse_document, tree_of_document
from monitors.alerts.routing.tree import RoutingTree
from monitors.alerts.sending.outbox import database_time


@dataclass(frozen=True)
class ProjectRouting:
    """The tree of a project with the document that people see; of the default one nobody made a change."""

    document: RoutingIn
    tree: RoutingTree
    changed_at: datetime | None = None
    changed_by: str = ""

    @property
    def is_default(self) -> bool:
        return self.changed_at is None


def routing_of(project: Project) -> ProjectRouting:
    """Return the tree that holds for a project."""
    stored = StoredRouting.objects.filter(project=project).first()
    if stored is None:
        return _default_routing()
    document, tree = parse_document(stored.document)
    return ProjectRouting(document, tree, stored.changed_at, stored.changed_by)


@cache
def _default_routing() -> ProjectRouting:
    document = default_document()
    return ProjectRouting(document, tree_of_document(document))


def channel_names(project: Project) -> list[str]:
    """List the channels that a tree may name."""
    channels = Channel.objects.filter(project=project, deleted_at=None).exclude(kind=CALLBACK)
    return list(channels.order_by("name").values_list("name", flat=True))


def save_routing(*, project: Project, document: Any, actor: str) -> ProjectRouting:
    """Store a routing document, plain values; open incidents are looked at again by the new tree.

    Raises a 422 `Problem` with a sentence for each fault, and then nothing changes.
    """
    read, _ = parse_document(document, channels=channel_names(project))
    with transaction.atomic():
        before = routing_of(project)
        now = database_time()
        StoredRouting.objects.update_or_create(
            project=project, defaults={"document": read.plain(), "changed_at": now, "changed_by": actor[:200]}
        )
        _audit(project, actor, "routing.update", before.document, read)
        _look_again(project, now)
    return routing_of(project)


def reset_routing(*, project: Project, actor: str) -> None:
    """Go back to the default tree; a project that has it already stays as it is."""
    with transaction.atomic():
        stored = StoredRouting.objects.select_for_update().filter(project=project).first()
        if stored is None:
            return
        before = RoutingIn.model_validate(stored.document)
        stored.delete()
        _audit(project, actor, "routing.reset", before, default_document())
        _look_again(project, database_time())


def unrouted_channels(project: Project) -> set[str]:
    """Return the names of the channels that no route sends to."""
    routes = routing_of(project).tree.list_routes()
    if any(route.channels is None for route in routes):
        return set()
    named = {name for route in routes for name in (*(route.channels or ()), *route.escalate_to)}
    return set(channel_names(project)) - named


def rename_in_routing(*, project: Project, old: str, new: str, actor: str) -> None:
    """Set a channel's new name in the tree of a project, in the caller's transaction."""
    stored = StoredRouting.objects.select_for_update().filter(project=project).first()
    if stored is None or old == new or old not in _named(stored.document["route"]):
        return
    before = RoutingIn.model_validate(stored.document)
    _rename(stored.document["route"], old, new)
    stored.save(update_fields=["document"])
    _audit(project, actor, "routing.update", before, RoutingIn.model_validate(stored.document))


def refuse_while_routed(channel: Channel) -> None:
    """Raise a 409 `Problem` where the tree of the project names a channel that somebody wants to delete."""
    stored = StoredRouting.objects.filter(project=channel.project_id).first()
    if stored is not None and channel.name in _named(stored.document["route"]):
        raise Problem(
            409,
            "channel_in_routing",
            f"The routing tree sends to {channel.name}; take it out of the tree first, or turn the channel off.",
        )


def _named(route: Mapping[str, Any]) -> set[str]:
    """Return the channels that a written route and those below it name."""
    own = {*route.get("channels", ()), *route.get("escalate_to", ())}
    return own.union(*(_named(below) for below in route.get("routes", ())))


def _rename(route: dict[str, Any], old: str, new: str) -> None:
    for key in ("channels", "escalate_to"):
        if key in route:
            route[key] = [new if name == old else name for name in route[key]]
    for below in route.get("routes", ()):
        _rename(below, old, new)


def _look_again(project: Project, now: datetime) -> None:
    """Schedule open incidents that are news to somebody to be routed by the tree that holds now."""
    timers = ChannelTimer.objects.filter(incident__project=project)
    timers.exclude(incident__status=Incident.Status.RESOLVED).update(due_at=now)
    enqueue(Task.NOTIFY)


def _audit(project: Project, actor: str, action: str, before: RoutingIn, after: RoutingIn) -> None:
    record_audit(
        project=project,
        actor=actor,
        action=action,
        subject="routing",
        before=before.plain(),
        after=after.plain(),
    )
