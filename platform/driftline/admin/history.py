"""The History page of a row: the entries of the audit trail that name it."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model as DjangoModel
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin

from driftline.accounts.audit_trail import changes_of
from driftline.accounts.models import ROLE_LABELS, AuditEntry, CustomRole, Membership, Project

MAX_ENTRIES = 100
"""Entries of a row that its page shows; more are in the list of all entries."""

_KINDS: Mapping[str, Sequence[str]] = {
    "user": ("user", "password", "mfa", "sessions", "email", "sign_in", "member"),
    "membership": ("membership", "member"),
    "authenticator": ("mfa",),
    "emailaddress": ("email",),
    "apitoken": ("token",),
    "directorytoken": ("scim_token",),
    "directorygroup": ("group",),
    "customrole": ("role",),
    "erasure": ("subject",),
    "model": ("model", "deployment", "workflow", "reference", "dataset", "monitor", "report", "mlflow"),
    "deploymentchange": ("deployment",),
    "version": ("version", "reference"),
    "monitor": ("monitor",),
    "delivery": ("delivery",),
    "rollout": ("run",),
    "deadletter": ("source",),
    "registryimport": ("registry",),
    "pull": ("version",),
    "storedrouting": ("routing",),
    "summary": ("window",),
}
"""The first words of the actions on a kind of row, where they are not its own name."""

_SUBJECTS: Mapping[str, Callable[[Any], Sequence[str]]] = {
    "user": lambda row: (row.email,),
    "membership": lambda row: _memberships(row),
    "invitation": lambda row: (row.email,),
    "emailaddress": lambda row: (row.email,),
    "apitoken": lambda row: (f"{row.prefix} {row.name}",),
    "directorytoken": lambda row: (row.prefix,),
    "project": lambda row: (str(row), row.slug),
    "incident": lambda row: (f"INC-{row.pk} {row.title}",),
    "delivery": lambda row: (f"{row.event_id} to {row.channel.name}",),
    "deadletter": lambda row: (row.source.name,),
    "rollout": lambda row: (str(row.run),),
    "pull": lambda row: (str(row.model),),
    "storedrouting": lambda row: ("routing",),
    "summary": lambda row: (f"{row.model.name} {row.span} {row.start:%Y-%m-%d %H:%M}",),
}
"""How the trail names a row, where it does so neither by what the row is called nor as a part of its model."""

_OF_A_MODEL = ("deployment", "deploymentchange", "workflow", "reference", "dataset", "monitor", "report")
"""Rows that the trail names by their model."""
_OWNERS = ("project", "model", "run", "source", "channel", "version", "group")
"""What a row may belong to, through which its project is found."""


class HistoryAdmin(ModelAdmin):
    """Rows whose History page shows the audit trail: Django's own log knows only the forms of the admin."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the newest entries of the trail that name this row, to whoever may look at the trail."""
        row = self.get_object(request, unquote(object_id))
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        may_see = request.user.has_perm("accounts.view_auditentry")
        entries = list(entries_about(row)[: MAX_ENTRIES + 1]) if may_see else []
        context = {
            **self.admin_site.each_context(request),
            "title": "History",
            "rows": [(entry, changes_of(entry)) for entry in entries[:MAX_ENTRIES]],
            "has_more": len(entries) > MAX_ENTRIES,
            "may_see": may_see,
            "all_entries": reverse("admin:accounts_auditentry_changelist"),
            "object": row,
            "opts": self.opts,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/audit_history.html", context)


def entries_about(row: DjangoModel) -> QuerySet[AuditEntry]:
    """List the entries of the trail that name this row, the newest first.

    An entry names what it is about by project, kind and name, and so may be of an earlier row with the same name.
    """
    kinds = _KINDS.get(_name_of(row), (re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(row).__name__).lower(),))
    by_kind = Q()
    for kind in kinds:
        by_kind |= Q(action__startswith=f"{kind}.")
    entries = AuditEntry.objects.filter(by_kind, subject__in=_subjects_of(row)).order_by("-at", "-pk")
    project = _project_of(row)
    return entries if project is None else entries.filter(project=project)


def _name_of(row: DjangoModel) -> str:
    return str(row._meta.model_name)


def _subjects_of(row: Any) -> list[str]:
    if subjects := _SUBJECTS.get(_name_of(row)):
        return [subject[:200] for subject in subjects(row)]
    names = [str(row), *filter(None, [getattr(row, "name", None)])]
    if model := getattr(row, "model", None):
        names.append(f"{model.name}/{getattr(row, 'name', row.pk)}")
        if _name_of(row) in _OF_A_MODEL:
            names.append(model.name)
    return [name[:200] for name in names]


def _project_of(row: Any) -> Project | None:
    """Return the project of whose trail the row is; None where it may be in several, or in the installation's."""
    if isinstance(row, Project):
        return row
    for name in _OWNERS:
        owner = getattr(row, name, None)
        if isinstance(owner, DjangoModel) and (project := _project_of(owner)) is not None:
            return project
    return None


def _memberships(row: Membership) -> list[str]:
    """Return how the trail names a membership with each role that it may have had."""
    own = CustomRole.objects.filter(project=row.project_id).values_list("name", flat=True)
    return [row.user.email, *(f"{row.user} in {row.project}: {role}" for role in (*ROLE_LABELS, *own))]
