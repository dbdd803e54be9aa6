"""Who may do what: users, projects, memberships, API tokens, and the audit trail."""

import hashlib
from datetime import datetime
from typing import Any, ClassVar, Self

from django.conf import settings
from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Now

from driftline.base.accounts.access.scopes import SCOPES_OF_ROLE, Role, Scope
from driftline.base.work.lease import Leasable
from driftline.base.work.work_rows import WorkQuerySet

MAX_ROLE_CHARACTERS = 40

ROLE_LABELS = {
    Role.VIEWER: "Viewer: reads",
    Role.EDITOR: "Editor: changes models, rules and channels",
    Role.ADMIN: "Admin: also tokens, members and deployments",
}


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractUser):
    """A person, who signs in with an e-mail address."""

    username = None  # type: ignore[assignment]
    email = models.EmailField(unique=True)
    provisioned_by = models.CharField(
        max_length=30,
        default="",
        db_default="",
        blank=True,
        help_text="the sign-in provider that made the account; empty: a person did",
    )
    directory_name = models.CharField(
        max_length=254,
        default="",
        db_default="",
        blank=True,
        help_text="what the provider calls the person, by SCIM",
    )
    external_id = models.CharField(
        max_length=254,
        default="",
        db_default="",
        blank=True,
        help_text="the provider's id of the person, by SCIM",
    )

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.email


class Isolation(models.TextChoices):
    NONE = "none", "None: its models run in the serving process"
    PROCESS = "process", "Process: each version runs in a process of its own"


class Project(models.Model):
    """A group of models with its own people, tokens and channels; no project sees another's objects.

    The first project of an installation belongs to whoever runs it, so its models run in the serving process; those
    of later ones are isolated where nothing else is said.
    """

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    isolation = models.CharField(
        max_length=10,
        choices=Isolation,
        blank=True,
        help_text="Where the models run. Empty: in the serving process for the first project, isolated for others.",
    )
    created_at = models.DateTimeField(db_default=Now())
    archived_at = models.DateTimeField(
        null=True, blank=True, help_text="since when it is hidden and read only"
    )
    max_models = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Models that it may have, with archived ones. Empty: no limit.",
    )
    max_rows_per_second = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Rows that may be logged, and asked of its models, through each serving process. Empty: no limit.",
    )
    max_bytes = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Bytes that its log, summaries and artifacts may hold. Empty: no limit.",
    )
    stored_bytes = models.BigIntegerField(
        null=True, blank=True, help_text="what they hold, measured every ten minutes where there is a quota"
    )
    members = models.ManyToManyField(User, through="Membership", related_name="projects")

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the project, with the isolation that is its default where none is chosen."""
        if not self.isolation:
            is_first = not Project.objects.exclude(pk=self.pk).exists()
            self.isolation = Isolation.NONE if is_first else Isolation.PROCESS
        super().save(*args, **kwargs)

    @property
    def is_full(self) -> bool:
        """Whether what it holds, as it was measured last, reaches its quota of storage."""
        return self.max_bytes is not None and (self.stored_bytes or 0) >= self.max_bytes

    @staticmethod
    def path_of(slug: str) -> str:
        """Return the path below which a project's pages are: see `project_prefix.py`."""
        return f"/p/{slug}"

    @property
    def url(self) -> str:
        """The address below which the project's pages are, for links in messages; without a slash at its end."""
        return f"{settings.PUBLIC_URL}{self.path_of(self.slug)}"


class CustomRole(models.Model):
    """A role of one project beside the three that all have: a name and a set of scopes.

    Memberships, invitations and the sign-in file refer to it by its name, so the name does not change.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="custom_roles")
    name = models.CharField(max_length=MAX_ROLE_CHARACTERS)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="role_name_once_a_project")]

    def __str__(self) -> str:
        return self.name

    @property
    def allowed(self) -> frozenset[Scope]:
        """The scopes that the role has; one that this release does not know counts for nothing."""
        return frozenset(scope for scope in Scope if scope in self.scopes)


class MembershipQuerySet(models.QuerySet["Membership"]):
    def with_scope(self, scope: Scope) -> "MembershipQuerySet":
        """Keep those in a role, built in or of their project, that has a scope."""
        custom = CustomRole.objects.filter(
            project=models.OuterRef("project"), name=models.OuterRef("role"), scopes__contains=[scope]
        )
        return self.filter(models.Q(role__in=scope.roles) | models.Exists(custom))


class Membership(models.Model):
    project = models.ForeignKey(Project, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(
        max_length=MAX_ROLE_CHARACTERS,
        default=Role.VIEWER.value,
        help_text="viewer, editor, admin, or the name of a role of the project",
    )
    joined_at = models.DateTimeField(
        null=True, db_default=Now(), help_text="empty for those of before it was kept"
    )
    last_seen_at = models.DateTimeField(null=True, blank=True, help_text="to within five minutes")
    granted_by = models.CharField(
        max_length=30,
        default="",
        db_default="",
        blank=True,
        help_text="the sign-in provider that gives the role; empty: a person did",
    )
    role_by_hand = models.CharField(
        max_length=MAX_ROLE_CHARACTERS,
        default="",
        db_default="",
        blank=True,
        help_text="what a person gave, while a provider gives more",
    )
    granted_teams = models.JSONField(
        default=list,
        blank=True,
        db_default=models.Value([], models.JSONField()),
        help_text="teams that the provider named",
    )

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="one_membership_a_person")]

    def __str__(self) -> str:
        return f"{self.user} in {self.project}: {self.role}"

    @property
    def scopes(self) -> frozenset[Scope]:
        """What the person may do in the project; nothing in a role that the project does not have."""
        return scopes_of_role(self.project_id, self.role)

    @property
    def is_last_admin(self) -> bool:
        """Whether nobody else who can sign in administers the project."""
        stored = Membership.objects.filter(project=self.project_id, role=Role.ADMIN)
        others = stored.exclude(pk=self.pk).filter(user__is_active=True)
        return stored.filter(pk=self.pk).exists() and not others.exists()

    def clean(self) -> None:
        """Refuse, in a form that saves the row by itself, an unknown role, and another one for the last admin."""
        if getattr(self, "project_id", None) is None:
            return  # the form says that it is missing
        if self.role not in set(Role) and not self.project.custom_roles.filter(name=self.role).exists():
            raise ValidationError({"role": f"{self.project} has no role {self.role!r}."})
        if self.pk and self.role != Role.ADMIN and self.is_last_admin:
            raise ValidationError({"role": f"{self.user} is the only admin of {self.project}."})


def scopes_of_role(project_id: int, role: str) -> frozenset[Scope]:
    """Return the scopes of a role of a project, built in or its own; none for a name that is neither."""
    if role in SCOPES_OF_ROLE:
        return SCOPES_OF_ROLE[role]
    custom = CustomRole.objects.filter(project=project_id, name=role).first()
    return frozenset() if custom is None else custom.allowed


class Team(models.Model):
    """A named group of a project's members: the owner of models, and whom e-mails of a channel go to."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="teams")
    name = models.CharField(max_length=100)
    members = models.ManyToManyField(Membership, related_name="teams", blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="team_name_once_a_project")]

    def __str__(self) -> str:
        return self.name


class Invitation(models.Model):
    """An address that may become a member by a link, once; the link is made of this row and stored nowhere."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=MAX_ROLE_CHARACTERS)
    generation = models.PositiveIntegerField(default=1, help_text="which of its links is valid: the newest")
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=200)
    expires_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    mail_error = models.CharField(max_length=200, blank=True)
    accepted_at = models.DateTimeField(null=True, blank=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "email"],
                condition=models.Q(accepted_at=None, withdrawn_at=None),
                name="one_open_invitation_an_address",
            )
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.project}"


class TokenQuerySet[Token: "RotatedToken"](models.QuerySet[Token]):
    def with_digest(self, digest: str, *, now: datetime) -> Self:
        """Keep the token of a secret: its present one, or the one before while that is valid."""
        before = models.Q(previous_digest=digest, previous_until__gt=now)
        return self.filter(models.Q(digest=digest) | before)


class RotatedToken(models.Model):
    """A secret of which the SHA-256 is stored, from where it may be used, and the secret before the last rotation."""

    prefix = models.CharField(max_length=16)
    digest = models.CharField(max_length=64, unique=True)
    allowed_networks = models.JSONField(
        default=list,
        blank=True,
        db_default=models.Value([], models.JSONField()),
        help_text="in CIDR notation, from which alone it may be used; empty: from anywhere",
    )
    previous_digest = models.CharField(max_length=64, default="", db_default="", blank=True)
    previous_until = models.DateTimeField(
        null=True, blank=True, help_text="when the secret of before the last rotation ends, or ended"
    )

    class Meta:
        abstract = True


class ApiTokenQuerySet(TokenQuerySet["ApiToken"]):
    def usable(self) -> Self:
        """Leave out tokens that were revoked, and those of people with a disabled account."""
        return self.filter(revoked_at=None).exclude(created_by__is_active=False)


class ApiToken(RotatedToken):
    """A bearer token of one project, named by its prefix; of its secrets only the SHA-256 is stored.

    A new secret begins with the same prefix, and the one before is valid beside it for a while.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    requests_per_second = models.PositiveIntegerField(default=0, db_default=0)  # 0: no limit
    rows_per_second = models.PositiveIntegerField(default=0, db_default=0)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        verbose_name = "API token"
        indexes = [models.Index(fields=["previous_digest"], name="token_previous_digest")]

    def __str__(self) -> str:
        return f"{self.prefix}… {self.name}"


class DirectoryToken(RotatedToken):
    """A token with which a sign-in provider keeps accounts here by SCIM; only its SHA-256 is stored."""

    provider = models.CharField(max_length=30)
    created_at = models.DateTimeField(db_default=Now())
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = TokenQuerySet["DirectoryToken"].as_manager()

    class Meta:
        verbose_name = "SCIM token"

    def __str__(self) -> str:
        return f"{self.prefix}… of {self.provider}"


class DirectoryGroup(models.Model):
    """A group of a sign-in provider, which keeps it here by SCIM; its file says which roles it gives."""

    provider = models.CharField(max_length=30)
    display_name = models.CharField(max_length=254)
    external_id = models.CharField(max_length=254, blank=True)
    members = models.ManyToManyField(User, related_name="directory_groups", blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["provider", "display_name"], name="group_name_once_a_provider")
        ]

    def __str__(self) -> str:
        return f"{self.display_name} of {self.provider}"


class ProjectTurn(models.Model):
    """When a project last had its turn in a lane of background work, in which projects take turns."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="+")
    lane = models.CharField(max_length=20)
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "lane"], name="one_turn_a_lane")]

    def __str__(self) -> str:
        return f"{self.project} in {self.lane} at {self.at:%H:%M:%S}"


class AuditEntry(models.Model):
    """One privileged act: who, what, before and after, and where from.

    Triggers of the database refuse every other change than an entry's place in the chain, given once, and the blanking
    of fields that a later entry tells of (`audit_chain.py`). So nothing cascades into here: people and projects are
    named in words, which stay when they are deleted.
    """

    project = models.ForeignKey(
        Project, models.DO_NOTHING, null=True, related_name="audit", db_constraint=False
    )
    project_slug = models.CharField(max_length=50, blank=True)
    at = models.DateTimeField(db_default=Now())
    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=60)
    subject = models.CharField(max_length=200)
    before = models.JSONField(null=True, blank=True)
    after = models.JSONField(null=True, blank=True)
    address = models.CharField(max_length=45, blank=True)
    token_id = models.BigIntegerField(null=True, blank=True)
    token_name = models.CharField(max_length=100, blank=True)
    correlation = models.CharField(max_length=64, blank=True)

    number = models.BigIntegerField(null=True, blank=True, unique=True)
    digest = models.CharField(max_length=64, blank=True)
    hash = models.CharField(max_length=64, blank=True)
    salt = models.UUIDField(db_default=models.Func(function="gen_random_uuid"))
    redaction = models.ForeignKey(
        "self", models.DO_NOTHING, null=True, blank=True, related_name="+", db_constraint=False
    )

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["project", "-at"], name="audit_newest"),
            models.Index(fields=["subject", "-at"], name="audit_of_subject"),
            models.Index(fields=["-at"], name="audit_by_time"),
            models.Index(fields=["id"], condition=models.Q(number=None), name="audit_not_sealed"),
            models.Index(fields=["id"], condition=models.Q(action="audit.redact"), name="audit_redactions"),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.subject}"


class AuditReceiver(models.TextChoices):
    """What audit entries are sent to by the operator's settings."""

    SYSLOG = "syslog", "Syslog"
    OTLP = "otlp", "OpenTelemetry"


class AuditExport(Leasable):
    """How far a receiver of audit entries is; where the settings stop naming it, it goes on from there later."""

    receiver = models.CharField(max_length=10, choices=AuditReceiver, unique=True)
    position = models.BigIntegerField(
        default=0, db_default=0, help_text="the number in the chain of the last entry that it has"
    )
    sent = models.BigIntegerField(default=0, db_default=0, help_text="entries, those that came twice too")
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(
        max_length=500, blank=True, default="", db_default="", help_text="why nothing can be sent"
    )
    failing_since = models.DateTimeField(null=True, blank=True)

    objects = WorkQuerySet["AuditExport"].as_manager()

    def __str__(self) -> str:
        return f"audit entries to {self.receiver}"


class CacheEntry(models.Model):
    """What serving processes remember together for a while, such as failed sign-ins; see `shared_cache.py`."""

    key = models.CharField(max_length=250, primary_key=True)
    value = models.JSONField()
    expires_at = models.DateTimeField(null=True, db_index=True)

    class Meta:
        verbose_name_plural = "cache entries"

    def __str__(self) -> str:
        return self.key


def digest_of(token: str) -> str:
    """Hash a token's whole text; 256 random bits need no salt."""
    return hashlib.sha256(token.encode()).hexdigest()
