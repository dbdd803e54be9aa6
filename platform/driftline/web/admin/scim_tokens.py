"""Tokens of sign-in providers: an operator sets from where each may be used, as admins of projects do of theirs."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextareaWidget

from driftline.base.accounts.access.allowed_networks import check_networks
from driftline.base.accounts.models import DirectoryToken
from driftline.base.errors import Problem
from driftline.sign_in.directory.tokens import allow_directory_token
from driftline.web.admin.reading import ActingAdmin
from driftline.web.pages.project.tokens import NetworksForm

_NETWORKS = "allowed_networks"


class ScimTokenForm(NetworksForm, forms.ModelForm):  # type: ignore[type-arg]  # Django's has no parameter when it runs
    """From where a token may be used, one network a line."""

    class Meta:
        model = DirectoryToken
        fields = ("allowed_networks",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "allowed_networks" in self.fields:  # not where somebody may only look
            self.initial["allowed_networks"] = "\n".join(self.instance.allowed_networks)
            self.fields["allowed_networks"].widget = UnfoldAdminTextareaWidget()

    def clean_allowed_networks(self) -> list[str]:
        """Return the networks as they are stored; an error names the first that is none."""
        try:
            return check_networks(super().clean_allowed_networks())
        except Problem as problem:
            raise forms.ValidationError(problem.detail) from problem


class ScimTokenAdmin(ActingAdmin):
    """Tokens to read and to revoke; of a valid one the allowed addresses are changed."""

    form = ScimTokenForm

    def has_change_permission(self, request: HttpRequest, obj: DirectoryToken | None = None) -> bool:
        is_valid = obj is None or obj.revoked_at is None
        return is_valid and ModelAdmin.has_change_permission(self, request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return [name for name in self.get_fields(request, obj) if name != _NETWORKS]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        """Return the fields; networks are typed where they may be changed, which a column in words is not."""
        fields = super().get_fields(request, obj)
        if not self.has_change_permission(request, obj):
            return fields
        return [_NETWORKS if getattr(one, "__name__", one) == _NETWORKS else one for one in fields]

    def save_model(self, request: HttpRequest, obj: DirectoryToken, form: Any, change: bool) -> None:
        """Set the networks as the command does, with its audit row."""
        networks = form.cleaned_data["allowed_networks"]
        try:
            allow_directory_token(prefix=obj.prefix, networks=networks, actor=str(request.user))
        except Problem as problem:  # it was revoked meanwhile
            raise PermissionDenied(problem.detail) from problem
