"""Which rows are shown, by which columns, and what may be done to them."""

import allauth.account.admin
import allauth.socialaccount.admin
import allauth.usersessions.admin  # noqa: F401  they register what is registered otherwise below
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from django.contrib import admin

from driftline.base.accounts.models import (
    ApiToken,
    AuditEntry,
    AuditExport,
    CustomRole,
    DirectoryGroup,
    DirectoryToken,
    Invitation,
    Team,
)
from driftline.operations.models import DiskSample, Heartbeat
from driftline.web.admin import acts
from driftline.web.admin.cells import changes_in_words
from driftline.web.admin.filters import HappenedFilter, OneSegmentFilter
from driftline.web.admin.reading import register
from driftline.web.admin.scim_tokens import ScimTokenAdmin
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
from inference.registry.models import (
    Dataset,
    Deployment,
    DeploymentChange,
    Model,
    PlanGeneration,
    UnpublishedChange,
    Version,
)
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
    Reference,
    Segment,
    SegmentFeature,
)
from monitors.digests.models import Digest
from monitors.feed.models import FeedEvent
from monitors.metrics.store.models import (
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
from monitors.rules.models import Rule, RuleState, Transition
from monitors.summaries.models import StaleWindow, Summary
from monitors.workflows.models import Rollout, Run, Step, Workflow

# -- what an operator looks at -----------------------------------------------------------------------------------------
register(
    ApiToken,
    ("prefix", "name", "project", "scopes", "allowed_networks", "last_used_at", "expires_at", "revoked_at"),
    ("project", ("revoked_at", HappenedFilter)),
    ("prefix", "name"),
    ("digest", "previous_digest"),
    acts=(acts.REVOKE,),
    by_day="last_used_at",
)
register(
    Invitation,
    ("email", "project", "role", "created_by", "expires_at", "sent_at", "accepted_at", "withdrawn_at"),
    ("project", "role"),
    ("email",),
)
register(CustomRole, ("name", "project", "scopes", "created_at"), ("project",), ("name",))
register(Team, ("name", "project", "created_at"), ("project",), ("name",))
register(
    AuditEntry,
    ("at", "actor", "action", "subject", changes_in_words, "project_slug"),
    ("action", "project_slug"),
    ("actor", "subject", "=correlation", "=address", "token_name"),
    by_day="at",
    order=("-at", "-pk"),
)
admin.site.unregister(EmailAddress)  # people change theirs themselves, which leaves audit rows
register(EmailAddress, ("email", "user", "primary", "verified"), ("primary", "verified"), ("email",))
admin.site.unregister(SocialApp)  # providers are those of DRIFTLINE_SIGN_IN_FILE
admin.site.unregister(SocialToken)  # none is kept
admin.site.unregister(SocialAccount)  # whoever changes one hands an account to somebody else
register(SocialAccount, ("user", "provider", "uid", "last_login"), ("provider",), ("user__email", "uid"))
register(
    DirectoryToken,
    ("prefix", "provider", "allowed_networks", "created_at", "last_used_at", "revoked_at"),
    ("provider",),
    secret=("digest", "previous_digest"),
    acts=(acts.REVOKE_SCIM,),
    base=ScimTokenAdmin,
)
register(
    DirectoryGroup,
    ("display_name", "provider", "external_id", "created_at"),
    ("provider",),
    ("display_name",),
)
admin.site.unregister(UserSession)  # its key would sign anybody in
register(
    UserSession,
    ("user", "ip", "user_agent", "created_at"),
    (),
    ("user__email", "=ip"),
    ("session_key", "data"),
)
register(AuditExport, ("receiver", "position", "sent", "sent_at", "failing_since", "error"))
register(Heartbeat, ("name", "at"))
register(
    DiskSample,
    ("at", "database_bytes", "log_bytes", "summary_bytes", "home_free_bytes", "database_free_bytes"),
)

register(
    Model,
    ("name", "project", "task", "autonomy", "created_at", "archived_at"),
    ("task", "autonomy", "project", ("archived_at", HappenedFilter)),
    ("name",),
    acts=(acts.ARCHIVE_MODEL, acts.RESTORE_MODEL, acts.ROLL_BACK_MODEL),
)
register(
    Version,
    ("model", "version", "sha256", "size", "created_at", "created_by"),
    ("model",),
    ("version", "sha256"),
)
register(Deployment, ("model", "champion", "previous", "generation"))
register(
    DeploymentChange,
    ("model", "kind", "before", "after", "at", "actor", "reason"),
    ("kind", "model"),
    ("model__name", "actor", "reason"),
    by_day="at",
)
register(Dataset, ("model", "version", "kind", "rows", "created_at"), ("kind", "model"), ("sha256",))
register(PlanGeneration, ("value",))
register(UnpublishedChange, ("changed_model", "at"))
register(
    PredictionChunk, ("model", "version", "role", "day", "rows", "is_packed", "created_at"), ("role", "model")
)
register(PackedDay, ("model", "version", "role", "day", "rows", "created_at"), ("role", "model"))
register(SummedDay, ("model", "version", "role", "day", "rows", "created_at"), ("role", "model"))
register(UnpackedDay, ("model", "version", "role", "day", "lease_until"), ("role", "model"))
register(
    EventHalf,
    ("event_id", "kind", "model", "version", "time", "received_at"),
    ("kind", "model"),
    ("=event_id",),
)
register(
    RequestCount, ("model", "version", "role", "hour", "outcome", "requests"), ("outcome", "role", "model")
)
register(RequestWait, ("model", "version", "role", "hour", "counts"), ("role", "model"))
register(SpoolCursor, ("name", "segment", "offset", "torn", "updated_at"))
register(TouchedPeriod, ("model", "version", "role", "hour"), ("role", "model"))

register(
    Reference,
    ("model", "version", "kind", "state", "is_active", "since", "until", "created_at"),
    ("kind", "state", "is_active", "model"),
)
register(SegmentFeature, ("model", "feature"), ("model",))
register(Segment, ("model", "name", "since"), ("model",))
register(Annotation, ("model", "start", "end", "text", "created_by"), ("model",))
register(Expectation, ("model", "feature", "least", "most", "missing_share", "tolerance"), ("model",))
register(FeatureProfile, ("model", "feature", "centre"), ("model",))
register(
    Summary,
    ("model", "version", "role", "span", "start", "segment", "rows", "labelled"),
    ("span", "role", ("segment", OneSegmentFilter), "model"),
    ("model__name",),
    acts=(acts.REBUILD,),
    by_day="start",
    order=("-start", "-pk"),
)
register(StaleWindow, ("model", "span", "start"), ("span", "model"))
register(
    PackedPoints,
    ("model", "measure", "version", "segment", "span", "start", "n", "revision", "has_errors"),
    ("measure", "span", "has_errors", "role", "model"),
    ("segment",),
)
register(PointLimits, ("model",), ("model",))
register(
    ChangePoint,
    ("model", "version", "role", "detector", "error", "at", "noticed_at", "before", "after"),
    ("detector", "role", "model"),
)
register(
    DetectorState, ("model", "version", "role", "span", "detector", "until"), ("detector", "role", "model")
)
register(UnreadDay, ("model", "start"), ("model",))
register(ExpectedErrors, ("model", "start", "role", "version", "rows", "why"), ("role", "model"))
register(
    SegmentSearch, ("model", "start", "end", "loss", "state", "rows", "labelled"), ("state", "loss", "model")
)
register(JointNullDraws, ("reference", "size", "why"))
register(NullDraws, ("reference", "column", "size", "days", "made_at"))
register(PendingEvaluation, ("model",))
register(
    Rule,
    ("name", "model", "metric", "feature", "operator", "threshold", "severity", "action", "enabled"),
    ("severity", "action", "enabled", "model"),
    ("name", "model__name"),
    acts=(acts.DISABLE_RULE, acts.ENABLE_RULE),
)
register(RuleState, ("rule", "standing", "streak", "judged_until", "acted_until"), ("standing",))
register(Transition, ("rule", "kind", "window_end", "value", "threshold", "at"), ("kind", "model"))
register(
    Incident,
    ("title", "model", "severity", "status", "opened_at", "resolved_at"),
    ("status", "severity", "model"),
    ("title", "model__name"),
    by_day="opened_at",
)
register(
    Alert,
    ("title", "model", "rule", "severity", "state", "since", "resolved_at"),
    ("state", "severity", "model"),
    ("title",),
)
register(
    IncidentEvent, ("incident", "kind", "text", "event_time", "at", "actor"), ("kind",), ("text", "actor")
)
register(StoredRouting, ("project", "changed_at", "changed_by"), ("project",))
register(ChannelTimer, ("incident", "channel", "notified_at", "due_at", "withheld"), ("channel",))
register(Silence, ("project", "model", "start", "end", "reason", "created_by"), ("project",), ("reason",))
register(
    Channel,
    ("name", "project", "kind", "min_severity", "enabled", "deleted_at"),
    ("kind", "enabled", "project"),
    ("name",),
    secret=("target",),
    acts=(acts.DISABLE_CHANNEL, acts.ENABLE_CHANNEL),
)
register(
    Delivery,
    ("channel", "event", "state", "reason", "attempts_made", "created_at", "sent_at"),
    ("state", "event", "channel"),
    ("event_id", "subject", "reason"),
    acts=(acts.SEND_AGAIN,),
    by_day="created_at",
)
register(DeliveryAttempt, ("delivery", "succeeded", "status", "duration_ms", "at"), ("succeeded",))
register(
    FeedEvent, ("project", "kind", "subject", "text", "at", "number"), ("kind", "project"), ("text", "actor")
)
register(Digest, ("user", "every", "weekday", "hour", "zone", "covered_until"), ("every",))
register(Workflow, ("model", "trainer", "pairs", "max_pairs", "max_runs_a_day"))
register(
    Run,
    ("model", "state", "trigger", "champion", "challenger", "created_at", "finished_at"),
    ("state", ("finished_at", HappenedFilter), "model"),
    ("trigger", "model__name"),
    acts=(acts.CANCEL_RUN,),
    by_day="created_at",
)
register(
    Rollout,
    ("run", "state", "position", "weight", "since", "next_check_at"),
    ("state",),
    acts=(acts.ROLL_BACK_ROLLOUT,),
)
register(
    Step, ("run", "position", "name", "state", "attempts", "started_at", "finished_at"), ("state", "name")
)
