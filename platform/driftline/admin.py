"""Every row, for looking: history is read-only, and changes go through the services, which check and audit them."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import allauth.account.admin  # registers what is registered otherwise below
import allauth.mfa.admin  # noqa: F401
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.contrib.admin import DateFieldListFilter, FieldListFilter
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.db import models, transaction
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from driftline.accounts.models import ApiToken, AuditEntry, Membership, Project, User
from driftline.accounts.scopes import Role
from driftline.accounts.services import note_isolation, record_audit
from driftline.models import Heartbeat
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.events.models import EventHalf
from inference.prediction_log.models import (
    PackedDay,
    PredictionChunk,
    RequestCount,
    RequestWait,
    SpoolCursor,
    SummedDay,
    TouchedPeriod,
    UnpackedDay,
)
from inference.registry.models import Dataset, Deployment, DeploymentChange, Model, PlanGeneration, Version
from monitors.alerts.models import (
    Alert,
    Channel,
    ChannelTimer,
    Delivery,
    DeliveryAttempt,
    Incident,
    IncidentEvent,
    Silence,
    StoredRouting,
)
from monitors.annotations.models import Annotation
from monitors.definitions.models import (
    Expectation,
    FeatureProfile,
    Monitor,
    Reference,
    Segment,
    SegmentFeature,
)
from monitors.digests.models import Digest
from monitors.feed.models import FeedEvent
from monitors.metrics.models import (
    ChangePoint,
    DetectorState,
    ExpectedErrors,
    JointNullDraws,
    NullDraws,
    PackedPoints,
    PendingEvaluation,
    PointLimits,
    SegmentSearch,
    UnreadDay,
)
from monitors.optimiser.models import Optimisation, Variant
from monitors.reports.models import Report
from monitors.rules.models import Rule, RuleState, Transition
from monitors.summaries.models import StaleWindow, Summary
from monitors.workflows.models import Run, Step, Workflow

admin.site.unregister(Group)  # roles belong to memberships


class ReadOnlyAdmin(ModelAdmin):
    """Rows to read: none is added, changed or deleted here."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        """Leave out what is excluded, and binary columns: they have no form that a person could read."""
        fields = [f.name for f in self.model._meta.fields if not isinstance(f, models.BinaryField)]
        return [name for name in fields if name not in (self.exclude or ())]


def _register(
    model: type[models.Model],
    columns: Sequence[str],
    filters: Sequence[str | tuple[str, type[FieldListFilter]]] = (),
    search: Sequence[str] = (),
    secret: Sequence[str] = (),
) -> None:
    """Register a model for reading, its relations fetched with the list; fields that are `secret` are not shown."""
    related = [f.name for f in model._meta.fields if isinstance(f, models.ForeignKey) and f.name in columns]
    options = {
        "list_display": tuple(columns),
        "list_filter": tuple(filters),
        "search_fields": tuple(search),
        "list_select_related": tuple(related) or False,
        "ordering": ("-pk",),
        "exclude": tuple(secret),
    }
    admin.site.register(model, type(f"{model.__name__}Admin", (ReadOnlyAdmin,), options))


class Audited(ModelAdmin):
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
        """Return the project whose trail the change belongs to; None for the installation's."""
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


# -- what an operator changes ------------------------------------------------------------------------------------------
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
    list_display = ("user", "project", "role")
    list_filter = ("role", "project")
    search_fields = ("user__email", "project__slug")
    raw_id_fields = ("user", "project")
    list_select_related = ("user", "project")

    def project_of(self, obj: Membership) -> Project:
        return obj.project


@admin.register(Project)
class Projects(Audited):
    audit_name = "project"
    audited_fields = ("slug", "name")
    list_display = ("slug", "name", "isolation", "created_at")
    list_filter = ("isolation",)
    search_fields = ("slug", "name")
    readonly_fields = ("created_at",)
    prepopulated_fields: ClassVar[dict[str, Sequence[str]]] = {"slug": ("name",)}

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        """Leave out of a new project the time at which it was made: the database sets it."""
        fields = ("name", "slug", "isolation")
        return fields if obj is None else (*fields, "created_at")

    def save_model(self, request: HttpRequest, obj: Project, form: Any, change: bool) -> None:
        """Save a project; where its models run is audited, and reaches the serving processes.

        Whoever makes one is its first admin, as it could not be opened otherwise.
        """
        before = Project.objects.get(pk=obj.pk).isolation if change else None
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            if not change:
                Membership.objects.create(project=obj, user=cast(User, request.user), role=Role.ADMIN)
            note_isolation(project=obj, before=before, actor=str(request.user))


@admin.register(Monitor)
class Monitors(ModelAdmin):
    list_display = ("model", "kind", "span", "min_rows", "min_label_coverage", "method", "enabled")
    list_filter = ("kind", "span", "enabled")
    raw_id_fields = ("model",)
    list_select_related = ("model",)


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


# -- what an operator looks at -----------------------------------------------------------------------------------------
_register(
    ApiToken,
    ("prefix", "name", "project", "scopes", "last_used_at", "expires_at", "revoked_at"),
    ("project",),
    ("prefix", "name"),
)
_register(
    AuditEntry,
    ("at", "actor", "action", "subject", "project_slug", "address", "token_name", "correlation", "number"),
    ("action", "project_slug", ("at", DateFieldListFilter)),
    ("actor", "subject", "=correlation", "=address", "token_name"),
)
admin.site.unregister(EmailAddress)  # people change theirs themselves, which leaves audit rows
_register(EmailAddress, ("email", "user", "primary", "verified"), ("primary", "verified"), ("email",))
_register(Heartbeat, ("name", "at"))

_register(
    Model, ("name", "project", "task", "autonomy", "created_at"), ("task", "autonomy", "project"), ("name",)
)
_register(
    Version,
    ("model", "version", "sha256", "size", "created_at", "created_by"),
    ("model",),
    ("version", "sha256"),
)
_register(Deployment, ("model", "champion", "previous", "generation"))
_register(
    DeploymentChange,
    ("model", "kind", "generation", "event_time", "at", "actor"),
    ("kind", "model"),
    ("actor", "reason"),
)
_register(Dataset, ("model", "version", "kind", "rows", "created_at"), ("kind", "model"), ("sha256",))
_register(PlanGeneration, ("value",))
_register(
    PredictionChunk, ("model", "version", "role", "day", "rows", "is_packed", "created_at"), ("role", "model")
)
_register(PackedDay, ("model", "version", "role", "day", "rows", "created_at"), ("role", "model"))
_register(SummedDay, ("model", "version", "role", "day", "rows", "created_at"), ("role", "model"))
_register(UnpackedDay, ("model", "version", "role", "day", "lease_until"), ("role", "model"))
_register(
    Erasure,
    ("key_hash", "project", "state", "waiting_for", "requested_by", "requested_at", "finished_at"),
    ("state", "project"),
    ("=key_hash",),
)
_register(
    EventHalf,
    ("event_id", "kind", "model", "version", "time", "received_at"),
    ("kind", "model"),
    ("=event_id",),
)
_register(
    RequestCount, ("model", "version", "role", "hour", "outcome", "requests"), ("outcome", "role", "model")
)
_register(RequestWait, ("model", "version", "role", "hour", "counts"), ("role", "model"))
_register(SpoolCursor, ("name", "segment", "offset", "torn", "updated_at"))
_register(TouchedPeriod, ("model", "version", "role", "hour"), ("role", "model"))

_register(
    Reference,
    ("model", "version", "kind", "state", "is_active", "since", "until", "created_at"),
    ("kind", "state", "is_active", "model"),
)
_register(SegmentFeature, ("model", "feature"), ("model",))
_register(Segment, ("model", "name", "since"), ("model",))
_register(Annotation, ("model", "start", "end", "text", "created_by"), ("model",))
_register(Expectation, ("model", "feature", "least", "most", "missing_share", "tolerance"), ("model",))
_register(FeatureProfile, ("model", "feature", "centre"), ("model",))
_register(
    Summary,
    ("model", "version", "role", "span", "start", "segment", "rows", "labelled"),
    ("span", "role", "model"),
)
_register(StaleWindow, ("model", "span", "start"), ("span", "model"))
_register(
    PackedPoints,
    ("model", "measure", "version", "segment", "span", "start", "n", "revision", "has_errors"),
    ("measure", "span", "has_errors", "role", "model"),
    ("segment",),
)
_register(PointLimits, ("model",), ("model",))
_register(
    ChangePoint,
    ("model", "version", "role", "detector", "error", "at", "noticed_at", "before", "after"),
    ("detector", "role", "model"),
)
_register(
    DetectorState, ("model", "version", "role", "span", "detector", "until"), ("detector", "role", "model")
)
_register(UnreadDay, ("model", "start"), ("model",))
_register(ExpectedErrors, ("model", "start", "role", "version", "rows", "why"), ("role", "model"))
_register(
    SegmentSearch, ("model", "start", "end", "loss", "state", "rows", "labelled"), ("state", "loss", "model")
)
_register(JointNullDraws, ("reference", "size", "why"))
_register(NullDraws, ("reference", "column", "size", "days", "made_at"))
_register(PendingEvaluation, ("model",))
_register(
    Rule,
    ("name", "model", "metric", "feature", "operator", "threshold", "severity", "action", "enabled"),
    ("severity", "action", "enabled", "model"),
    ("name",),
)
_register(RuleState, ("rule", "standing", "streak", "judged_until", "acted_until"), ("standing",))
_register(Transition, ("rule", "kind", "window_end", "value", "threshold", "at"), ("kind", "model"))
_register(
    Incident,
    ("title", "model", "severity", "status", "opened_at", "resolved_at"),
    ("status", "severity", "model"),
    ("title",),
)
_register(
    Alert,
    ("title", "model", "rule", "severity", "state", "since", "resolved_at"),
    ("state", "severity", "model"),
    ("title",),
)
_register(
    IncidentEvent, ("incident", "kind", "text", "event_time", "at", "actor"), ("kind",), ("text", "actor")
)
_register(StoredRouting, ("project", "changed_at", "changed_by"), ("project",))
_register(ChannelTimer, ("incident", "channel", "notified_at", "due_at", "withheld"), ("channel",))
_register(Silence, ("project", "model", "start", "end", "reason", "created_by"), ("project",), ("reason",))
_register(
    Channel,
    ("name", "project", "kind", "min_severity", "enabled", "deleted_at"),
    ("kind", "enabled", "project"),
    ("name",),
    secret=("target",),
)
_register(
    Delivery,
    ("channel", "event", "state", "attempts_made", "created_at", "sent_at"),
    ("state", "event"),
    ("event_id", "subject"),
)
_register(DeliveryAttempt, ("delivery", "succeeded", "status", "duration_ms", "at"), ("succeeded",))
_register(
    FeedEvent, ("project", "kind", "subject", "text", "at", "number"), ("kind", "project"), ("text", "actor")
)
_register(Digest, ("user", "every", "weekday", "hour", "zone", "covered_until"), ("every",))
_register(
    Optimisation,
    ("version", "state", "generation", "requested_by", "requested_at", "finished_at"),
    ("state",),
)
_register(Variant, ("version", "kind", "status", "size", "machine", "made_at"), ("kind", "status"))
_register(Report, ("model", "start", "end", "state", "size", "created_at"), ("state", "model"))
_register(Workflow, ("model", "trainer", "pairs", "max_pairs", "max_runs_a_day"))
_register(
    Run,
    ("model", "state", "trigger", "champion", "challenger", "created_at", "finished_at"),
    ("state", "model"),
    ("trigger",),
)
_register(
    Step, ("run", "position", "name", "state", "attempts", "started_at", "finished_at"), ("state", "name")
)
