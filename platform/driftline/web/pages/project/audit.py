"""The page of the audit trail: who did what in the project, filtered, and whether the chain over it holds."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.core.validators import MaxValueValidator
from django.http import HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import render

from driftline.base.accounts.audit.trail import (
    JSON_LINES,
    AuditFilter,
    chain_state,
    changes_of,
    choices_of,
    export_file,
)
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.http.paging import cut_page
from driftline.base.periods import rfc3339
from driftline.web.pages.access import PageRequest, Visitor, page

SHOWN = 50
NEWEST_DAY = date(9998, 12, 31)
"""The day after the one that is chosen is still a date."""


class AuditForm(forms.Form):
    """What narrows the trail; days are of UTC, both included."""

    search = forms.CharField(required=False, max_length=200)
    kind = forms.ChoiceField(required=False, label="Object")
    actor = forms.ChoiceField(required=False)
    action = forms.CharField(required=False, max_length=60)
    first = forms.DateField(required=False, label="From", widget=forms.DateInput(attrs={"type": "date"}))
    last = forms.DateField(
        required=False,
        label="To",
        validators=[MaxValueValidator(NEWEST_DAY, f"Choose a day up to {NEWEST_DAY:%-d %b %Y}.")],
        widget=forms.DateInput(attrs={"type": "date"}),
    )

    @classmethod
    def of(cls, visitor: Visitor, data: QueryDict) -> "AuditForm":
        """Make the form with the kinds and actors that the project's newest entries have, and the chosen ones."""
        form = cls(data)
        for name, known in zip(("kind", "actor"), choices_of(visitor.project), strict=True):
            field, chosen = form.fields[name], data.get(name, "")[:200]
            assert isinstance(field, forms.ChoiceField)
            field.choices = [("", "any"), *((one, one) for one in sorted({*known, chosen} - {""}))]
        return form

    def wanted(self) -> AuditFilter:
        """Return the filter; what is no day raises Problem."""
        if not self.is_valid():
            faults = [str(fault) for errors in self.errors.values() for fault in errors]
            raise Problem(400, "invalid_parameter", " ".join(faults))
        texts = {name: self.cleaned_data[name] for name in ("search", "kind", "actor", "action")}
        first, last = self.cleaned_data["first"], self.cleaned_data["last"]
        bounds = {
            "from": rfc3339(_start_of(first)) if first else "",
            "to": rfc3339(_start_of(last + timedelta(days=1))) if last else "",
        }
        return AuditFilter.of(texts | bounds, now=now())

    def plain(self) -> dict[str, str]:
        """Return the parameters that are set, for links."""
        return {name: self.data[name] for name in self.fields if self.data.get(name)}


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


@page("GET")
def audit(request: PageRequest) -> HttpResponse:
    """List the newest entries that fit."""
    request.visitor.check_rights({"": "audit"})
    form = AuditForm.of(request.visitor, request.GET)
    entries = form.wanted().entries(request.visitor.project)
    shown, older = cut_page(entries, by=("-pk",), cursor=request.GET.get("cursor"), limit=SHOWN)
    filters = form.plain()
    context: dict[str, Any] = {
        "rows": [(entry, changes_of(entry)) for entry in shown],
        "form": form,
        "filters": urlencode(filters),
        "older_url": "?" + urlencode(filters | {"cursor": older}) if older else "",
        "newest_url": "?" + urlencode(filters) if request.GET.get("cursor") else "",
        "chain": chain_state(settings.HOME, now=now()),
        "section": "audit",
    }
    return render(request, "pages/project/audit.html", context)


@page("GET")
def export(request: PageRequest) -> HttpResponse | StreamingHttpResponse:
    """Download what fits as JSON Lines; a HEAD makes no file, and no entry that says so."""
    request.visitor.check_rights({"": "audit"})
    wanted = AuditForm.of(request.visitor, request.GET).wanted()
    if request.method == "HEAD":
        return HttpResponse(content_type=JSON_LINES)
    return export_file(request, project=request.visitor.project, wanted=wanted, actor=request.visitor.actor)
