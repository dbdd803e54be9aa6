"""Serving hosts, and what each last said."""

from datetime import datetime, timedelta
from typing import ClassVar, Self

from django.db import models
from django.db.models.functions import Now

from inference.serving.status.status import HOST_AWAY_SECONDS

AWAY_AFTER = timedelta(seconds=HOST_AWAY_SECONDS)
"""A host that was not heard of for so long is away; it says how it does every second."""


class ServingHostQuerySet(models.QuerySet["ServingHost"]):
    def active(self) -> Self:
        """Keep those that may still pull the plan."""
        return self.filter(revoked_at=None)


class ServingHost(models.Model):
    """A machine that answers inference for all projects. Of its token only the SHA-256 is stored."""

    name = models.CharField(max_length=60, unique=True)
    token_digest = models.CharField(max_length=64, unique=True)
    token_key = models.CharField(
        max_length=44, blank=True, default="", db_default="",
        help_text="public half of the signing key in its token; empty for one that was made before they were noted",
    )  # fmt: skip
    created_at = models.DateTimeField(db_default=Now())
    revoked_at = models.DateTimeField(null=True, blank=True)
    instance = models.CharField(max_length=64, blank=True, help_text="of the home that was last heard of")
    last_seen_at = models.DateTimeField(null=True, blank=True)
    generation = models.BigIntegerField(default=0, help_text="of the plan that it has")
    failure = models.CharField(max_length=300, blank=True, help_text="why it does not have all of the plan")
    spool_ends = models.JSONField(default=dict, help_text="segment and offset to which each spool is written")

    objects: ClassVar[ServingHostQuerySet] = ServingHostQuerySet.as_manager()  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.name

    def is_away(self, now: datetime) -> bool:
        """Return whether nothing was heard of it lately."""
        return self.last_seen_at is None or now - self.last_seen_at > AWAY_AFTER
