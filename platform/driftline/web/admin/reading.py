"""Rows to read, with acts that call services: each is asked for on a page of its own, and never done by a GET."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import FieldListFilter
from django.contrib.admin import ModelAdmin as DjangoModelAdmin
from django.contrib.admin.options import ActionLocation
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models.fields import BLANK_CHOICE_DASH
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action
from unfold.views import ChangeList

from driftline.base.accounts.models import Project
from driftline.base.accounts.projects import refuse_archived
from driftline.base.errors import Problem
from driftline.web.admin.cells import Column, is_long, list_column, page_column
from driftline.web.admin.days import DayChangeList, of_day, read_day
from driftline.web.admin.history import HistoryAdmin

MAX_AT_ONCE = 100


@dataclass(frozen=True)
class AdminAct:
    """Something that an operator may do to a row."""

    name: str
    label: str
    """On the button, such as `Send again`."""
    question: str
    """What it will do, asked before."""
    done: str
    """How a row is described once it is done, such as `is sent again`."""
    run: Callable[[Any, str], object]
    """Takes the row and who asks; raises Problem where it cannot be done."""
    project: Callable[[Any], Project] | None = None
    """The project of a row that must not be archived; None where the act only stops something."""
    is_final: bool = False
    """Whether it cannot be undone, which the colour of its button says too."""
    refusal: Callable[[Any], str] = lambda row: ""
    """Why it cannot be done to a row, which is said instead of the question; empty where it can."""


class ReadOnlyAdmin(HistoryAdmin):
    """Rows to read: none is added, changed or deleted here."""

    show_full_result_count = False
    list_per_page = 50
    by_day: str | None = None
    """A column, of a large table one with an index, of which the list shows one day: chosen, or searched for."""

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        return DayChangeList if self.by_day else super().get_changelist(request, **options)

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        """Search for a day where a date is all that was typed, else for words: names may have dates in them."""
        day = read_day(search_term.strip()) if self.by_day else None
        if day is None:
            return super().get_search_results(request, queryset, search_term)
        return of_day(queryset, str(self.by_day), day), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_list_display(self, request: HttpRequest) -> Sequence[Column]:
        """Write the columns that hold JSON in words."""
        fields = {field.name: field for field in self.model._meta.fields}
        columns = super().get_list_display(request)
        return [list_column(fields[one]) if one in fields else one for one in columns]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        """Show what may be long last, and neither what is excluded nor binary columns, which no person could read."""
        shown = [
            field
            for field in self.model._meta.fields
            if not isinstance(field, models.BinaryField) and field.name not in (self.exclude or ())
        ]
        return [page_column(field) for field in sorted(shown, key=is_long)]


class ActingAdmin(ReadOnlyAdmin):
    """Rows to which something may be done, from the list or from the page of one."""

    acts: Sequence[AdminAct] = ()

    def get_action_choices(
        self,
        request: HttpRequest,
        default_choices: list[tuple[str, str]] = BLANK_CHOICE_DASH,
        action_location: ActionLocation = ActionLocation.CHANGE_LIST,
    ) -> list[tuple[str, str]]:
        """Offer what may be done to ticked rows; the theme's own lacks the parameter that Django passes."""
        return DjangoModelAdmin.get_action_choices(self, request, default_choices, action_location)

    def has_act_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Return whether this person may change such rows, by Django's permissions."""
        meta = self.opts
        return bool(request.user.has_perm(f"{meta.app_label}.change_{meta.model_name}"))

    def perform(
        self, request: HttpRequest, act: AdminAct, rows: Sequence[Any], *, is_ticked: bool = False
    ) -> HttpResponse:
        """Ask first; where that was answered, do it to each row and say what became of it.

        Of rows that were ticked in the list, the question sends on those to which it can be done.
        """
        if not self.has_act_permission(request):
            raise PermissionDenied
        back = self._list_address(request)
        if request.method != "POST" or "confirmed" not in request.POST:
            possible = [row for row in rows if not act.refusal(row)]
            ticked = [
                ("action", f"{act.name}_of_list"),
                *(("_selected_action", str(row.pk)) for row in possible),
            ]
            context = {
                **self.admin_site.each_context(request),
                "title": act.label,
                "act": act,
                "rows": possible,
                "refused": [reason for row in rows if (reason := act.refusal(row))],
                "hidden": ticked if is_ticked else (),
                "opts": self.opts,
                "back": back,
            }
            return TemplateResponse(request, "admin/confirm_act.html", context)
        for row in rows:
            if reason := act.refusal(row):
                self.message_user(request, reason, messages.ERROR)
                continue
            try:
                if act.project is not None:
                    refuse_archived(act.project(row))
                act.run(row, str(request.user))
            except Problem as problem:
                self.message_user(request, f"{row}: {problem.detail}", messages.ERROR)
            else:
                self.message_user(request, f"{row} {act.done}.", messages.SUCCESS)
        return HttpResponseRedirect(back)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], **options: Any
    ) -> HttpResponse:
        """Make the buttons keep how the list was filtered, so that the page after an act shows it again."""
        if kept := self.get_preserved_filters(request):
            for button in context.get("actions_detail", ()):
                button["path"] += f"?{kept}"
        return super().render_change_form(request, context, **options)

    def _list_address(self, request: HttpRequest) -> str:
        """Return the address of the list, filtered as it was when the act was chosen."""
        address = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        kept = {"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}
        return str(add_preserved_filters(kept, address))


def register(
    model: type[models.Model],
    columns: Sequence[Column],
    filters: Sequence[str | tuple[str, type[FieldListFilter]]] = (),
    search: Sequence[str] = (),
    secret: Sequence[str] = (),
    *,
    acts: Sequence[AdminAct] = (),
    by_day: str | None = None,
    order: Sequence[str] = ("-pk",),
    base: type[ReadOnlyAdmin] | None = None,
) -> None:
    """Register a model for reading, its relations fetched with the list; fields that are `secret` are not shown.

    `acts` are what may be done to its rows, and `by_day` is a column of which the list shows one day on demand.
    `base` has what is changed by a form; without one nothing is.
    """
    related = [f.name for f in model._meta.fields if isinstance(f, models.ForeignKey) and f.name in columns]
    options: dict[str, Any] = {
        "list_display": tuple(columns),
        "list_filter": tuple(filters),
        "search_fields": tuple(search),
        "list_select_related": tuple(related) or False,
        "ordering": tuple(order),
        "exclude": tuple(secret),
        "by_day": by_day,
        "search_help_text": "Words, or a day such as 2026-06-15" if by_day and search else None,
        "acts": tuple(acts),
    }
    for act in acts:
        options |= {f"{act.name}_one": _of_one(act), f"{act.name}_of_list": _of_list(act)}
    options["actions_detail"] = tuple(f"{act.name}_one" for act in acts)
    options["actions"] = tuple(f"{act.name}_of_list" for act in acts)
    base = base or (ActingAdmin if acts else ReadOnlyAdmin)
    admin.site.register(model, type(f"{model.__name__}Admin", (base,), options))


def _of_one(act: AdminAct) -> Any:
    """Make the button on the page of a row."""

    def view(self: ActingAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        return self.perform(request, act, [row])

    view.__name__ = f"{act.name}_one"
    return action(description=act.label, url_path=act.name.replace("_", "-"), permissions=["act"])(view)


def _of_list(act: AdminAct) -> Any:
    """Make the action for rows that were ticked in the list."""

    def view(self: ActingAdmin, request: HttpRequest, queryset: models.QuerySet[Any]) -> HttpResponse | None:
        rows = list(queryset[: MAX_AT_ONCE + 1])
        if len(rows) > MAX_AT_ONCE:
            self.message_user(request, f"Choose at most {MAX_AT_ONCE} at once.", messages.ERROR)
            return None
        return self.perform(request, act, rows, is_ticked=True)

    view.__name__ = f"{act.name}_of_list"
    return admin.action(description=act.label, permissions=["act"])(view)
