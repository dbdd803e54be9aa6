"""Work that needs another server: a refusal ends it, and while the server is away it is put off, for about a day."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models.functions import Now

from driftline.base.errors import Problem
from driftline.base.keys.secrets_at_rest import SecretUnreadable
from driftline.base.outbound.transport import RequestFailed
from driftline.base.work.leased_work import (
    LeasedQuerySet,
    LeasedWork,
    WorkFailed,
    WorkLease,
    attempt,
    shortened,
)

MAX_FAILURES = 18
FIRST_WAIT, MAX_WAIT = timedelta(seconds=30), timedelta(hours=2)
_MAY_PASS = (408, 425, 429)


class PatientWork(LeasedWork):
    """Work that needs another server: while that is away it is put off, for about a day."""

    failures = models.IntegerField(
        default=0, db_default=0, help_text="times in a row that the other server was away"
    )

    class Meta:
        abstract = True


class NotYet(Exception):
    """The work has to wait for something else than the other server; the text says for what."""


def attempt_patiently[Row: PatientWork](
    rows: LeasedQuerySet[Row], work: Callable[[WorkLease[Row]], None]
) -> bool:
    """Do the work of one row that waits; returns whether one did."""
    return attempt(rows, lambda lease: _try(lease, work))


def _try[Row: PatientWork](lease: WorkLease[Row], work: Callable[[WorkLease[Row]], None]) -> None:
    try:
        work(lease)
    except NotYet as reason:
        put_off(lease, str(reason), timedelta(minutes=1), failures=0)
    except SecretUnreadable as error:
        raise WorkFailed(str(error)) from error
    except (RequestFailed, Problem) as error:  # a Problem from 500 on is ours, such as a full disk
        failures = lease.read().failures + 1
        is_refused = error.status is not None and 300 <= error.status < 500 and error.status not in _MAY_PASS
        if is_refused or failures > MAX_FAILURES:
            raise WorkFailed(str(error)) from error
        wait = min(FIRST_WAIT * 2 ** (failures - 1), MAX_WAIT)
        asked_for = error.retry_after if isinstance(error, RequestFailed) else None
        put_off(lease, str(error), max(wait, asked_for or wait), failures=failures)


def put_off[Row: PatientWork](lease: WorkLease[Row], reason: str, wait: timedelta, *, failures: int) -> None:
    """Leave the work to a later attempt, and say why; it counts as waiting from then on."""
    values: dict[str, Any] = {"lease_until": Now() + wait, "touched_at": Now() + wait, "lease_token": None}
    lease.write(error=shortened(reason), failures=failures, attempts=0, **values)
