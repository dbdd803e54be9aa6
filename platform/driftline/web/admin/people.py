"""What an operator changes by a form: accounts, memberships, projects and monitors, each change with an audit row."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import allauth.mfa.admin  # noqa: F401  registers what is registered otherwise below
from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget

from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.models import ROLE_LABELS, CustomRole, Membership, Project, User
from driftline.base.accounts.operators import refuse_last_operator
from driftline.base.accounts.projects import refuse_archived
from driftline.base.accounts.quotas import FIELDS as QUOTAS
from driftline.base.accounts.quotas import note_quotas, quotas_of
from driftline.base.accounts.services import note_isolation, record_audit
from driftline.base.errors import Problem
from driftline.sign_in.activation import note_activation
from driftline.web.admin import acts
from driftline.web.admin.asking import AskingAdmin, Question
from driftline.web.admin.filters import HappenedFilter
from driftline.web.admin.history import HistoryAdmin
from driftline.web.admin.reading import ActingAdmin, ReadOnlyAdmin, register
from monitors.definitions.models import Monitor

RIGHTS = ("is_active", "is_staff", "is_superuser")

admin.site.unregister(Group)  # roles belong to memberships


class Audited(HistoryAdmin):
    """Rows that an operator changes here, each change with a row in the audit trail."""

    audit_name = ""
    audited_fields: Sequence[str] = ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        before = self._state(self.model._default_manager.get(pk=obj.pk)) if change else None
        super().save_model(request, obj, form, change)
        self._record(request, obj, "change" if change else "create", before=before, after=self._state(obj))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self._record(request, obj, "delete", before=self._state(obj))
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        for obj in queryset:
            self._record(request, obj, "delete", before=self._state(obj))
        super().delete_queryset(request, queryset)

    def project_of(self, obj: Any) -> Project | None:
        """Return the project that has the change in its trail; None for the installation's."""
        return None

    def subject_of(self, obj: Any) -> str:
        """Return how the trail names a row."""
        return str(obj)

    def _state(self, obj: Any) -> dict[str, str]:
        return {name: str(getattr(obj, name)) for name in self.audited_fields}

    def _record(
        self, request: HttpRequest, obj: Any, verb: str, *, before: Any = None, after: Any = None
    ) -> None:
        record_audit(
            project=self.project_of(obj),
            actor=str(request.user),
            action=f"{self.audit_name}.{verb}",
            subject=self.subject_of(obj),
            before=before,
            after=after,
        )


class KeptAdmin(Audited, ActingAdmin):
    """Rows that an operator makes and changes here, and that Django does not delete.

    It would read every row that refers to one, before it asks: for a project those are whole logs.
    """

    instead = ""
    """What is done in place of deleting one."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return ModelAdmin.has_add_permission(self, request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return ModelAdmin.has_change_permission(self, request, obj)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show who comes by the address what is done instead."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        self.message_user(request, self.instead, messages.ERROR)
        return HttpResponseRedirect(
            reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[object_id])
        )


class AdminAccountForm(UserChangeForm):
    """An account, of which the rights of an operator are taken away only where another operator remains."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        removed = [name for name in RIGHTS if name in self.changed_data and not cleaned.get(name)]
        if removed:
            try:
                refuse_last_operator(self.instance)
            except Problem as problem:
                self.add_error(removed[0], problem.detail)
        return cleaned


@admin.register(User)
class People(UserAdmin, KeptAdmin):  # type: ignore[misc, type-arg]  # `get_fields` is of both
    audit_name = "user"
    audited_fields = ("email", *RIGHTS)
    form, add_form, change_password_form = AdminAccountForm, UserCreationForm, AdminPasswordChangeForm
    instead = (
        "An account is not deleted, as what the person did stays in their name. Switch Active off: it ends their "
        "sessions, and the tokens that they made are refused."
    )
    list_display = ("email", "first_name", "last_name", "is_staff", "is_active", "last_login")
    list_filter = ("is_staff", "is_active")
    search_fields = ("email", "first_name", "last_name")
    ordering = ("email",)
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        ("Person", {"fields": ("first_name", "last_name")}),
        ("Rights", {"fields": RIGHTS, "description": instead}),
        ("Times", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "password1", "password2")}),)
    readonly_fields = ("last_login", "date_joined")
    filter_horizontal = ()

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Save an account; whether it is switched off counts for its sessions and tokens at once."""
        super().save_model(request, obj, form, change)
        if change and "is_active" in form.changed_data:
            note_activation(user=obj, actor=str(request.user))

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        """Record a password that is set for somebody: the form for it saves past `save_model`."""
        if request.resolver_match and request.resolver_match.url_name == "auth_user_password_change":
            record_audit(project=None, actor=str(request.user), action="password.set", subject=str(obj))
        return super().log_change(request, obj, message)


class Memberships(KeptAdmin):
    audit_name = "membership"
    audited_fields = ("user", "project", "role")
    instead = "Remove takes a person out of a project."
    raw_id_fields = ("user", "project")
    readonly_fields = ("joined_at", "last_seen_at", "granted_by", "role_by_hand")

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        """Save a membership; a role that is given here is a person's, which no sign-in provider takes away."""
        if "role" in form.changed_data:
            obj.granted_by = obj.role_by_hand = ""
        super().save_model(request, obj, form, change)

    def project_of(self, obj: Membership) -> Project:
        return obj.project

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Offer the roles of all projects; the row refuses one that its project does not have."""
        field = super().formfield_for_dbfield(db_field, request, **options)
        if db_field.name == "role":
            own = CustomRole.objects.order_by("name").values_list("name", flat=True).distinct()
            field.widget = UnfoldAdminSelectWidget(
                choices=[*ROLE_LABELS.items(), *((one, one) for one in own)]
            )
        return field

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        """Leave out of a new row the time at which the person joined: the database sets it."""
        fields = ("user", "project", "role")
        return fields if obj is None else (*fields, "joined_at", "last_seen_at", "granted_by", "role_by_hand")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        """Keep the person and the project of a row: to move it would be in no trail of the first project."""
        return self.readonly_fields if obj is None else (*self.readonly_fields, "user", "project")


register(
    Membership,
    ("user", "project", "role", "joined_at", "last_seen_at"),
    ("role", "project"),
    ("user__email", "project__slug"),
    acts=(acts.REMOVE_MEMBER,),
    base=Memberships,
)


class AdminProjectForm(forms.ModelForm):  # type: ignore[type-arg]  # Django's has no parameter when it runs
    """A project, of which only the quotas change while it is archived; a quota of 0 is none, as in the command."""

    class Meta:
        model = Project
        fields = ("name", "slug", "isolation", *QUOTAS)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if changed := [name for name in ("name", "slug", "isolation") if name in self.changed_data]:
            try:
                refuse_archived(self.instance)
            except Problem as problem:
                self.add_error(changed[0], problem.detail)
        return cleaned | {name: cleaned[name] or None for name in QUOTAS if name in cleaned}


class Projects(KeptAdmin, AskingAdmin):
    audit_name = "project"
    audited_fields = ("slug", "name")
    form = AdminProjectForm
    instead = (
        "A project is not deleted. Archive hides it and makes it read only; an archived one can be restored."
    )
    readonly_fields = ("created_at", "archived_at", "stored_bytes")
    prepopulated_fields: ClassVar[dict[str, Sequence[str]]] = {"slug": ("name",)}

    def project_of(self, obj: Project) -> Project:
        return obj

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        """Leave out of a new project the time at which it was made: the database sets it."""
        fields = ("name", "slug", "isolation", *QUOTAS)
        return fields if obj is None else (*fields, "stored_bytes", "created_at", "archived_at")

    def question_of(self, form: Any) -> Question | None:
        """Ask before the address of a project changes."""
        before, slug = form.initial.get("slug"), form.cleaned_data.get("slug")
        if before in (None, slug):
            return None
        return Question(
            "Change the address of this project?",
            "Change the address",
            f"Its pages move to {Project.path_of(slug)}/. Links with {Project.path_of(before)}/ lead nowhere from then "
            "on, in e-mails, webhooks and bookmarks too, and a sign-in file or a command that names the project has to "
            "be changed.",
            [f"{form.instance.name}: {before} becomes {slug}"],
        )

    def save_model(self, request: HttpRequest, obj: Project, form: Any, change: bool) -> None:
        """Save a project; where its models run and its quotas are audited, and reach the serving processes.

        Whoever makes one is its first admin, as it could not be opened otherwise.
        """
        stored = Project.objects.get(pk=obj.pk) if change else None
        before, quotas = (stored.isolation if stored else None), quotas_of(stored or Project())
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            if not change:
                Membership.objects.create(project=obj, user=cast(User, request.user), role=Role.ADMIN)
            note_isolation(project=obj, before=before, actor=str(request.user))
            note_quotas(project=obj, before=quotas, actor=str(request.user))


register(
    Project,
    ("slug", "name", "isolation", *QUOTAS, "created_at", "archived_at"),
    ("isolation", ("archived_at", HappenedFilter)),
    ("slug", "name"),
    acts=(acts.ARCHIVE_PROJECT, acts.RESTORE_PROJECT),
    base=Projects,
)


@admin.register(Monitor)
class Monitors(Audited):
    audit_name = "monitor"
    audited_fields = ("kind", "span", "min_rows", "min_label_coverage", "method", "enabled")
    list_display = ("model", "kind", "span", "min_rows", "min_label_coverage", "method", "enabled")
    list_filter = ("kind", "span", "enabled")
    raw_id_fields = ("model",)
    list_select_related = ("model",)

    def project_of(self, obj: Monitor) -> Project:
        return obj.model.project


admin.site.unregister(Authenticator)  # allauth's own page shows the sealed secrets, and changes them


@admin.register(Authenticator)
class SecondFactors(Audited, ReadOnlyAdmin):
    """For removing the second factor of somebody who lost it."""

    audit_name = "mfa"
    audited_fields = ("user", "type")
    list_display = ("user", "type", "created_at", "last_used_at")
    list_filter = ("type",)
    ordering = ("-pk",)

    def subject_of(self, obj: Authenticator) -> str:
        """Name the person, as the entries of what they do themselves, so that the history of the account has it."""
        return str(obj.user.email)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return isinstance(request.user, User) and request.user.is_superuser

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return self.list_display
