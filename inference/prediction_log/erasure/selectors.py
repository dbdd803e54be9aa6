"""Reads of erasures: receipts, which never tell whom they are about."""

from typing import Any

from django.db.models import QuerySet

from driftline.accounts.models import Project
from driftline.common.errors import not_found
from driftline.common.periods import rfc3339
from inference.prediction_log.erasure.models import Erasure


def erasures_of(project: Project) -> QuerySet[Erasure]:
    """List a project's erasures."""
    return Erasure.objects.filter(project=project)


def get_erasure(*, project: Project, erasure_id: int) -> Erasure:
    """Find an erasure of this project."""
    erasure = erasures_of(project).filter(pk=erasure_id).first()
    if erasure is None:
        raise not_found("erasure")
    return erasure


def describe_erasure(erasure: Erasure) -> dict[str, Any]:
    """Write a receipt as the API gives it."""
    return {
        "id": erasure.pk,
        "state": erasure.state,
        "waiting_for": erasure.waiting_for or None,
        "error": erasure.error or None,
        "key_hash": erasure.key_hash,
        "counts": erasure.counts,
        "remains": erasure.remains,
        "requested_by": erasure.requested_by,
        "requested_at": rfc3339(erasure.requested_at),
        "finished_at": rfc3339(erasure.finished_at) if erasure.finished_at else None,
    }
