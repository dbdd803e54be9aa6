"""The History page of a row: the entries of the audit trail that name it."""

from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin

from driftline.base.accounts.audit.trail import changes_of
from driftline.web.admin.trail_names import entries_about, names_of

MAX_ENTRIES = 100
"""Entries of a row that its page shows; more are in the list of all entries."""


class HistoryAdmin(ModelAdmin):
    """Rows with a History page of the audit trail: Django's own log knows only the forms of the admin."""

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
        names = names_of(self.model)
        context = {
            **self.admin_site.each_context(request),
            "title": "History",
            "rows": [(entry, changes_of(entry)) for entry in entries[:MAX_ENTRIES]],
            "may_see": may_see,
            "is_named": bool(names),
            "shared_by": next((name.shared_by for name in names if name.shared_by), ""),
            "more": _list_of(entries[0].subject) if len(entries) > MAX_ENTRIES else "",
            "object": row,
            "opts": self.opts,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/audit_history.html", context)


def _list_of(subject: str) -> str:
    """Return the address of the list of all entries, searched for a subject."""
    return f"{reverse('admin:accounts_auditentry_changelist')}?{urlencode({'q': subject})}"
