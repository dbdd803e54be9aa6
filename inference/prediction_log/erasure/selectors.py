"""Reads of erasures: receipts, which never tell whom they are about."""

from django.db.models import QuerySet

from driftline.base.accounts.models import Project
from driftline.base.errors import not_found
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
