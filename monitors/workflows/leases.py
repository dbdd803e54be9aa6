"""A run's lease: who works on it, and the token without which nothing of the run can be written."""

from datetime import timedelta

from django.db import models, transaction

from driftline.base.work.lease import Lease
from inference.registry.models import Model
from monitors.workflows.models import ACTIVE_STATES, Run


class RunLease(Lease[Run]):
    """The right to work on one run."""

    LENGTH = timedelta(seconds=30)
    RENEWAL_SECONDS = 3.0

    @property
    def _mine(self) -> models.QuerySet[Run]:
        return super()._mine.select_related("model__project", "champion", "challenger")


def claim_run(run_id: int) -> RunLease | None:
    """Lease an active run that nobody works on; None when there is no such run, or its project is archived."""
    models_at_work = Model.objects.filter(
        project__archived_at=None
    )  # a subquery: the claim locks the run alone
    active = Run.objects.filter(pk=run_id, state__in=ACTIVE_STATES, model__in=models_at_work)
    with transaction.atomic():
        claimed = active.claim(limit=1, lease=RunLease.LENGTH)
    return RunLease(Run, run_id, claimed[0].lease_token) if claimed else None  # type: ignore[arg-type]
