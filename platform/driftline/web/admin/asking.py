"""Forms that ask on a page of their own before they save, as acts on rows do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin


@dataclass(frozen=True)
class Question:
    """What is asked before a form is saved."""

    heading: str
    label: str
    """On the button that does it."""
    question: str
    """What it will do."""
    subjects: Sequence[str]
    is_final: bool = False
    """Whether nothing undoes it."""


class AskingAdmin(ModelAdmin):
    """Rows of which some changes are asked for first; a wrong form comes back without a question."""

    def question_of(self, form: Any) -> Question | None:
        """Return what to ask before a valid form is saved, None where it is saved at once."""
        return None

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Ask first where there is something to ask; where that was answered, go on as Django does."""
        question = None
        if request.method == "POST" and "confirmed" not in request.POST:
            question = self._find_question(request, object_id)
        if question is None:
            return super().changeform_view(request, object_id, form_url, extra_context)
        posted = [(name, value) for name, values in request.POST.lists() for value in values]
        context = {
            **self.admin_site.each_context(request),
            "title": question.heading,
            "heading": question.heading,
            "act": question,
            "rows": question.subjects,
            "hidden": [(name, value) for name, value in posted if name != "csrfmiddlewaretoken"],
            "opts": self.opts,
            "back": reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"),
        }
        return TemplateResponse(request, "admin/confirm_act.html", context)

    def _find_question(self, request: HttpRequest, object_id: str | None) -> Question | None:
        """Return the question of what was sent; None where Django refuses it, or shows its errors."""
        row = None if object_id is None else self.get_object(request, unquote(object_id))
        may = self.has_add_permission(request) if row is None else self.has_change_permission(request, row)
        if not may or (object_id is not None and row is None):
            return None
        form = self.get_form(request, row, change=row is not None)(request.POST, request.FILES, instance=row)
        return self.question_of(form) if form.is_valid() else None
