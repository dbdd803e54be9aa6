"""How the audit trail names rows: by which actions, and by what in their entries."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from django.db.models import Model as DjangoModel
from django.db.models import Q, QuerySet

from driftline.base.accounts.models import ROLE_LABELS, AuditEntry, CustomRole, Membership, Project, User
from driftline.base.accounts.services import MAX_NAME_CHARACTERS
from driftline.operations.long_work import kinds


@dataclass(frozen=True)
class TrailName:
    """How some entries name a row."""

    actions: Sequence[str]
    """Whole actions, or their first words, such as `rule` for `rule.update`."""
    match: Callable[[Any], Q]
    """Which entries with these actions, in the project of the row, name it."""
    shared_by: str = ""
    """What the entries name instead of the row, where it may have several such rows."""


def _named(*attributes: str) -> Callable[[Any], Q]:
    """Match entries with one of these attributes of the row as their subject, or the row as it is written."""

    def match(row: Any) -> Q:
        values = [attrgetter(name)(row) for name in attributes] if attributes else [row]
        return _subjects(*(str(value) for value in values if value is not None))

    return match


def _subjects(*texts: str) -> Q:
    return Q(subject__in=[text[:MAX_NAME_CHARACTERS] for text in texts])


def _part(row: Any) -> Q:
    """Match entries about a part of a model."""
    return _subjects(f"{row.model.name}/{getattr(row, 'name', row.pk)}")


def _project(row: Project) -> Q:
    """Match entries of a project by its number, as its name and address change; older ones were in no project."""
    return Q(project=row) | Q(project=None, project_slug="") & _subjects(row.name, row.slug)


def _memberships(rows: Collection[Membership]) -> Q:
    """Match entries of memberships with each role that they may have had."""
    own: dict[int, list[str]] = defaultdict(list)
    projects = {row.project_id for row in rows}
    for project, name in CustomRole.objects.filter(project__in=projects).values_list("project", "name"):
        own[project].append(name)
    return _subjects(
        *(
            f"{row.user} in {row.project}: {role}"
            for row in rows
            for role in (*ROLE_LABELS, *own[row.project_id])
        )
    )


def _memberships_of(row: User) -> Q:
    return _memberships(Membership.objects.filter(user=row).select_related("user", "project"))


_BY_MODEL = _named("model.name")
_PULLS = ("version.pull", "version.pull_again", "version.pull_cancel")
_NAMES: Mapping[str, Sequence[TrailName]] = {
    # -- people and projects
    "user": (
        TrailName(("user", "password", "mfa", "sessions", "email", "sign_in", "member"), _named("email")),
        TrailName(("membership",), _memberships_of),
    ),
    "membership": (
        TrailName(("member",), _named("user.email")),
        TrailName(("membership",), lambda row: _memberships([row])),
    ),
    "authenticator": (TrailName(("mfa",), _named("user.email"), "person"),),
    "emailaddress": (TrailName(("email",), _named("email", "user.email"), "person"),),
    "socialaccount": (
        TrailName(
            ("user.link", "user.create"), lambda row: _subjects(row.user.email) & Q(after__subject=row.uid)
        ),
    ),
    "apitoken": (TrailName(("token",), lambda row: _subjects(f"{row.prefix} {row.name}")),),
    "directorytoken": (TrailName(("scim_token",), _named("prefix")),),
    "directorygroup": (TrailName(("group",), _named("display_name")),),
    "invitation": (TrailName(("invitation",), _named("email")),),
    "customrole": (TrailName(("role",), _named("name")),),
    "team": (TrailName(("team",), _named("name")),),
    "project": (TrailName(("project",), _project),),
    "auditexport": (TrailName(("audit.export_position",), _named("receiver")),),
    "erasure": (TrailName(("subject",), _named()),),
    # -- models
    "model": (
        TrailName(
            (
                *("model", "deployment", "workflow", "reference", "dataset", "monitor", "report", "evidence"),
                *("predictions", "import", "mlflow", "run.not_started", *_PULLS),
            ),
            _named("name"),
        ),
    ),
    "version": (TrailName(("version", "reference"), _named()),),
    "deployment": (TrailName(("deployment",), _BY_MODEL),),
    "deploymentchange": (TrailName(("deployment",), _BY_MODEL, "model"),),
    "pull": (TrailName(_PULLS, lambda row: _BY_MODEL(row) & Q(after__pull=row.pk)),),
    "registryimport": (TrailName(("registry",), _named()),),
    "device": (TrailName(("device",), _named("name")),),
    "devicegroup": (TrailName(("device_group",), _named("name")),),
    "release": (TrailName(("release",), _named()),),
    "optimisation": (TrailName(("version.optimise",), _named("version")),),
    # -- rows, and where they come from and go
    "source": (TrailName(("source",), _named("name")),),
    "deadletter": (TrailName(("source",), _named("source.name"), "source"),),
    "sink": (TrailName(("sink",), lambda row: Q()),),
    "lake": (TrailName(("lake",), lambda row: Q()),),
    "dataset": (
        TrailName(("dataset",), lambda row: Q(after__id=row.pk)),
        TrailName(("reference.store",), _named("version"), "version"),
    ),
    "summary": (
        TrailName(
            ("window",), lambda row: _subjects(f"{row.model.name} {row.span} {row.start:%Y-%m-%d %H:%M}")
        ),
    ),
    # -- what windows are compared with and judged by
    "reference": (TrailName(("reference",), _named("model.name", "version"), "model"),),
    "segment": (TrailName(("segment",), _part),),
    "segmentfeature": (TrailName(("model.segment_features",), _BY_MODEL, "model"),),
    "annotation": (TrailName(("annotation",), _part),),
    "expectation": (TrailName(("model.expect",), _BY_MODEL, "model"),),
    "monitor": (
        TrailName(("monitor.create", "monitor.change", "monitor.delete"), _named()),
        TrailName(("monitor.span",), lambda row: _BY_MODEL(row) & Q(after__kind=row.kind)),
    ),
    "rule": (TrailName(("rule",), _named("name")),),
    "report": (TrailName(("report", "evidence"), lambda row: _BY_MODEL(row) & Q(after__report=row.pk)),),
    # -- incidents, messages and runs
    "incident": (TrailName(("incident",), lambda row: Q(subject__startswith=f"INC-{row.pk} ")),),
    "storedrouting": (TrailName(("routing",), lambda row: _subjects("routing")),),
    "silence": (TrailName(("silence",), _named("reason")),),
    "channel": (TrailName(("channel",), _named("name")),),
    "delivery": (TrailName(("delivery",), lambda row: _subjects(f"{row.event_id} to {row.channel.name}")),),
    "workflow": (TrailName(("workflow",), _BY_MODEL),),
    "run": (TrailName(("run",), _named()),),
    "rollout": (TrailName(("run",), _named("run")),),
}
"""By the name of a row's model; the trail names no other rows than these and those of long work."""

_LONG_WORK = TrailName(("work",), _named())
_OWNERS = (
    *("project", "model", "run", "source", "channel", "version", "group"),
    *("registry_import", "taken"),
)
"""What a row may belong to, through which its project is found."""


def names_of(model: type[DjangoModel]) -> Sequence[TrailName]:
    """Return how the trail names the rows of a model; empty where it does not."""
    long_work = [_LONG_WORK] if any(kind.model is model for kind in kinds()) else []
    return [*_NAMES.get(str(model._meta.model_name), ()), *long_work]


def entries_about(row: DjangoModel) -> QuerySet[AuditEntry]:
    """List the entries of the trail that name this row, the newest first.

    An entry names what it is about by project, kind and name, and so may be of an earlier row with the same name.
    """
    names = names_of(type(row))
    if not names:
        return AuditEntry.objects.none()
    about = Q()
    for name in names:
        about |= _with_actions(name.actions) & name.match(row)
    entries = AuditEntry.objects.filter(about).order_by("-at", "-pk")
    project = None if isinstance(row, Project) else _project_of(row)
    return entries if project is None else entries.filter(project=project)


def _with_actions(actions: Sequence[str]) -> Q:
    found = Q()
    for action in actions:
        found |= Q(action=action) if "." in action else Q(action__startswith=f"{action}.")
    return found


def _project_of(row: Any) -> Project | None:
    """Return the project that has the row in its trail; None where several may, or the installation."""
    if isinstance(row, Project):
        return row
    for name in _OWNERS:
        owner = getattr(row, name, None)
        if isinstance(owner, DjangoModel) and (project := _project_of(owner)) is not None:
            return project
    return None
