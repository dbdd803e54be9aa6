"""Publishes the serving plan when tokens or projects change, and archives the models of a project with it.

The registry publishes its own changes itself.
"""

from datetime import datetime
from typing import Any

from django.dispatch import receiver

from driftline.base.accounts.models import Project
from driftline.base.accounts.signals import (
    isolation_changed,
    project_archived,
    project_restored,
    tokens_changed,
)
from inference.registry.plan.publishing import publish_on_commit


@receiver(project_archived)
def archive_models(project: Project, **_: Any) -> None:
    """Archive the models with their project, so that whatever leaves archived ones out leaves these out too."""
    project.models.listed().update(archived_at=project.archived_at)


@receiver(project_restored)
def restore_models(project: Project, archived_at: datetime, **_: Any) -> None:
    """Bring back the models that were archived with their project, and no others."""
    project.models.filter(archived_at=archived_at).update(archived_at=None)


@receiver([tokens_changed, isolation_changed])
def publish_changes(**_: Any) -> None:
    publish_on_commit()
