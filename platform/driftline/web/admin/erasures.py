"""Erasures of persons: their receipts, and the form by which an operator asks for one."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminTextInputWidget

from driftline.base.accounts.models import Project
from driftline.base.ids import ID_LENGTH, is_valid_id
from driftline.web.admin.asking import AskingAdmin, Question
from driftline.web.admin.reading import ReadOnlyAdmin
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.services import request_erasure

HEADING = "Erase a person"


class AdminErasureForm(forms.ModelForm):  # type: ignore[type-arg]  # Django's has no parameter when it runs
    """The person to erase; the key is typed twice, as nothing brings the rows back."""

    project = forms.ModelChoiceField(Project.objects.order_by("name"))
    key = forms.CharField(
        label="Key of the person",
        help_text="As it was logged. All that was logged under it in this project goes, and does not come back.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )
    again = forms.CharField(
        label="The key once more", widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})
    )

    class Meta:
        model = Erasure
        fields = ("project",)

    def clean_key(self) -> str:
        key = str(self.cleaned_data["key"])
        if not is_valid_id(key):
            raise forms.ValidationError(
                f"A key has 1 to {ID_LENGTH} printable characters; type it as it was logged."
            )
        return key

    def clean_again(self) -> str:
        if self.cleaned_data["again"] != self.cleaned_data.get("key"):
            raise forms.ValidationError("The two keys differ.")
        return str(self.cleaned_data["again"])


@admin.register(Erasure)
class Erasures(ReadOnlyAdmin, AskingAdmin):
    form = AdminErasureForm
    list_display = (
        "key_hash",
        "project",
        "state",
        "waiting_for",
        "requested_by",
        "requested_at",
        "finished_at",
    )
    list_filter = ("state", "project")
    list_select_related = ("project",)
    search_fields = ("=key_hash", "requested_by")
    ordering = ("-pk",)
    by_day = "requested_at"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("inference.add_erasure"))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        return ("project", "key", "again") if obj is None else super().get_fields(request, obj)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().add_view(request, form_url, {"title": HEADING} | (extra_context or {}))

    def question_of(self, form: Any) -> Question:
        """Ask before anybody is erased."""
        key, project = form.cleaned_data["key"], form.cleaned_data["project"]
        return Question(
            f"{HEADING}?",
            "Erase",
            "All that was logged under this key in this project goes, and nothing brings it back.",
            [f"{key} in {project}"],
            is_final=True,
        )

    def save_model(self, request: HttpRequest, obj: Erasure, form: Any, change: bool) -> None:
        """Ask for the erasure as the API does; the row is the receipt, perhaps of one that is under way."""
        made = request_erasure(
            project=form.cleaned_data["project"], key=form.cleaned_data["key"], actor=str(request.user)
        )
        obj.pk, obj.key_hash, obj.state = made.pk, made.key_hash, made.state
