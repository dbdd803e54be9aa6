"""What an operator changes by a form: accounts, memberships, projects and monitors, each change with an audit row."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import allauth.mfa.admin  # noqa: F401  registers what is registered otherwise below
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.db import models, transaction
from django.http import HttpRequest
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget

from driftline.accounts.models import ROLE_LABELS, CustomRole, Membership, Project, User
from driftline.accounts.quotas import FIELDS as QUOTAS
from driftline.accounts.quotas import note_quotas, quotas_of
from driftline.accounts.scopes import Role
from driftline.accounts.services import note_isolation, record_audit
from driftline.admin.history import HistoryAdmin
from driftline.admin.reading import ReadOnlyAdmin
from monitors.definitions.models import Monitor

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

    def _state(self, obj: Any) -> dict[str, str]:
        return {name: str(getattr(obj, name)) for name in self.audited_fields}

    def _record(
        self, request: HttpRequest, obj: Any, verb: str, *, before: Any = None, after: Any = None
    ) -> None:
        record_audit(
            project=self.project_of(obj),
            actor=str(request.user),
            action=f"{self.audit_name}.{verb}",
            subject=str(obj),
            before=before,
            after=after,
        )


@admin.register(User)
class People(UserAdmin, Audited):  # type: ignore[type-arg]
    audit_name = "user"
    audited_fields = ("email", "is_active", "is_staff", "is_superuser")
    form, add_form, change_password_form = UserChangeForm, UserCreationForm, AdminPasswordChangeForm
    list_display = ("email", "first_name", "last_name", "is_staff", "is_active", "last_login")
    list_filter = ("is_staff", "is_active")
    search_fields = ("email", "first_name", "last_name")
    ordering = ("email",)
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        ("Person", {"fields": ("first_name", "last_name")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser")}),
        ("Times", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "password1", "password2")}),)
    readonly_fields = ("last_login", "date_joined")
    filter_horizontal = ()

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        """Record a password that is set for somebody: the form for it saves past `save_model`."""
        if request.resolver_match and request.resolver_match.url_name == "auth_user_password_change":
            record_audit(project=None, actor=str(request.user), action="password.set", subject=str(obj))
        return super().log_change(request, obj, message)


@admin.register(Membership)
class Memberships(Audited):
    audit_name = "membership"
    audited_fields = ("user", "project", "role")
    list_display = ("user", "project", "role", "joined_at", "last_seen_at")
    list_filter = ("role", "project")
    search_fields = ("user__email", "project__slug")
    raw_id_fields = ("user", "project")
    readonly_fields = ("joined_at", "last_seen_at", "granted_by", "role_by_hand")
    list_select_related = ("user", "project")

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

    def get_deleted_objects(
        self, objs: Sequence[Membership] | models.QuerySet[Membership], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Refuse to remove all admins of a project: nobody could open its settings any more."""
        removed = {one.pk for one in objs}
        listed, counts, needed, protected = super().get_deleted_objects(objs, request)
        for one in objs:
            admins = Membership.objects.filter(project=one.project_id, role=Role.ADMIN, user__is_active=True)
            if one.role == Role.ADMIN and not admins.exclude(pk__in=removed).exists():
                protected.append(f"{one}: the project would have no admin")
        return listed, counts, needed, protected


@admin.register(Project)
class Projects(Audited):
    audit_name = "project"
    audited_fields = ("slug", "name")
    list_display = ("slug", "name", "isolation", *QUOTAS, "created_at")
    list_filter = ("isolation",)
    search_fields = ("slug", "name")
    readonly_fields = ("created_at", "stored_bytes")
    prepopulated_fields: ClassVar[dict[str, Sequence[str]]] = {"slug": ("name",)}

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        """Warn of another short name, as all that was sent out or configured names the project by it."""
        warning = "Every link, bookmark and API address of the project has it: another one breaks them all."
        return super().get_form(request, obj, change=change, help_texts={"slug": warning}, **options)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        """Leave out of a new project the time at which it was made: the database sets it."""
        fields = ("name", "slug", "isolation", *QUOTAS)
        return fields if obj is None else (*fields, "stored_bytes", "created_at")

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

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return isinstance(request.user, User) and request.user.is_superuser

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return self.list_display
