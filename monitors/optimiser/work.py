"""Goes on with an optimisation in a worker: a variant at a time, each written under the lease that it was tried in."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import F
from django.db.models.functions import Now

from driftline.common.doorbell import ring
from inference.registry.models import Version
from inference.registry.selectors import signature_of
from inference.registry.trials import NotBuilt, Questions, Unfit, try_variant
from inference.registry.trials.orders import Outcome, Packed, Trial, pack
from inference.runtime.variants.base import Feed
from inference.runtime.variants.kinds import KINDS
from monitors.optimiser import files
from monitors.optimiser.asked import Rows
from monitors.optimiser.comparing import BrokenAnswers, compare, judged_outputs, storable
from monitors.optimiser.judging import Verdict, budget_of, judge
from monitors.optimiser.machine import machine
from monitors.optimiser.models import UNFINISHED, Optimisation, Variant
from monitors.optimiser.rows import TrialRows, trial_rows
from monitors.optimiser.services import TASK

log = logging.getLogger(__name__)

LEASE = timedelta(minutes=10)  # longer than a trial of the largest file
SLICE_S = 120.0  # then other work of the worker gets its turn
MOST_ATTEMPTS = 3


class LeaseLost(Exception):
    """The optimisation was asked for again, or another worker has it after this one seemed dead."""


@dataclass(frozen=True)
class Lease:
    """The right to go on with one generation of an optimisation."""

    optimisation_id: int
    generation: int
    token: int
    version: Version

    @contextmanager
    def fenced(self) -> Iterator[Optimisation]:
        """Open a transaction in which the optimisation is locked, its lease checked and renewed."""
        with transaction.atomic():
            mine = Optimisation.objects.filter(
                pk=self.optimisation_id, generation=self.generation, lease_token=self.token
            )
            optimisation = mine.select_for_update().first()
            if optimisation is None:
                raise LeaseLost
            yield optimisation
            mine.update(lease_until=Now() + LEASE)


def go_on(optimisation_id: int) -> None:
    """Try the variants that are left, as many as fit into a slice."""
    lease = _take(optimisation_id)
    if lease is None:
        return
    try:
        if _try_variants(lease):
            _end(lease, Optimisation.State.DONE)
        else:
            _give_back(lease)
            ring(TASK, optimisation_id=optimisation_id)
    except LeaseLost:
        pass
    except FileNotFoundError:
        _end(lease, Optimisation.State.FAILED, "The version's file is gone; restore it and ask again.")
    except Exception:  # whatever it was, the people who asked must see that it did not work
        log.exception("an optimisation failed", extra={"optimisation": optimisation_id})
        _note_failure(lease)


def _take(optimisation_id: int) -> Lease | None:
    with transaction.atomic():
        unfinished = Optimisation.objects.filter(pk=optimisation_id, state__in=UNFINISHED)
        claimed = unfinished.claim(limit=1, lease=LEASE)
        if not claimed:
            return None
        unfinished.update(state=Optimisation.State.RUNNING)
    [optimisation] = claimed
    version = Version.objects.select_related("model__project").get(pk=optimisation.version_id)
    return Lease(optimisation.pk, optimisation.generation, optimisation.lease_token, version)  # type: ignore[arg-type]


def _try_variants(lease: Lease) -> bool:
    """Try one variant after another; False where the slice ended before all were tried."""
    tried = set(
        Variant.objects.filter(version=lease.version, generation=lease.generation).values_list(
            "kind", flat=True
        )
    )
    left = [kind for kind in KINDS if kind not in tried]
    if not left:
        return True
    rows, until = trial_rows(lease.version), time.monotonic() + SLICE_S
    questions = _questions(rows)
    for kind in left:
        if time.monotonic() > until:
            return False
        outcome = try_variant(
            settings.HOME / lease.version.path, kind, questions, judged_outputs(signature_of(lease.version))
        )
        _keep(lease, kind, outcome, rows.asked)
    return True


def _questions(rows: TrialRows) -> Questions:
    return Questions(_packed(rows.calibration.feed), _packed(rows.asked.feed), rows.calibration_is_made_up)


def _packed(feed: Feed) -> dict[str, Packed]:
    return {name: pack(values) for name, values in feed.items()}


def _keep(lease: Lease, kind: str, outcome: Outcome, rows: Rows) -> None:
    """Write a variant's row in place of the one of before, and its file where it gains."""
    found = _judged(lease.version, outcome, rows)
    if isinstance(outcome, Trial) and found["status"] == Variant.Status.GAIN:
        found["path"] = files.keep(outcome.content)
    with lease.fenced() as optimisation:
        before = Variant.objects.filter(version=lease.version, kind=kind).first()
        Variant.objects.update_or_create(
            version=lease.version,
            kind=kind,
            defaults={
                "generation": lease.generation,
                "machine": machine(),
                "made_at": Now(),
                "registered": None,
                **found,
            },
        )
        if optimisation.attempts:
            Optimisation.objects.filter(pk=optimisation.pk).update(attempts=0, error="")
        if before is not None:
            transaction.on_commit(partial(files.remove_if_unused, before.path))


def _judged(version: Version, outcome: Outcome, rows: Rows) -> dict[str, Any]:
    """Give the columns of a variant's row."""
    empty = {"sha256": "", "size": None, "path": "", "measured": None}
    if isinstance(outcome, NotBuilt):
        return {**empty, "status": Variant.Status.NOT_APPLICABLE, "reason": _plain(outcome.reason)}
    if isinstance(outcome, Unfit):
        return {**empty, "status": Variant.Status.REFUSED, "reason": _plain(outcome.reason)}
    size = len(outcome.content)
    try:
        measured = compare(outcome, rows, signature_of(version))
    except BrokenAnswers as error:
        reason = f"It does not answer as the version's signature says: {error}"
        return {**empty, "status": Variant.Status.REFUSED, "reason": reason, "size": size}
    verdict: Verdict = judge(
        measured, budget_of(version.model.objectives), size=size, original_size=version.size
    )
    return {
        "status": verdict.status,
        "reason": verdict.reason,
        "sha256": files.digest(outcome.content),
        "size": size,
        "path": "",
        "measured": storable(measured),
    }


def _plain(reason: str) -> str:
    """Cut what a child said to what a page can show and the database holds."""
    return "".join(character if character.isprintable() else " " for character in reason)[:500]


def _end(lease: Lease, state: str, error: str = "") -> None:
    try:
        with lease.fenced() as optimisation:
            mine = Optimisation.objects.filter(pk=optimisation.pk)
            mine.update(state=state, error=error, finished_at=Now())
    except LeaseLost:
        return
    _give_back(lease)


def _give_back(lease: Lease) -> None:
    Optimisation.objects.filter(pk=lease.optimisation_id, lease_token=lease.token).update(
        lease_until=None, lease_token=None
    )


def _note_failure(lease: Lease) -> None:
    """Leave it to the next attempt, which begins when the lease ends; after MOST_ATTEMPTS it has failed."""
    try:
        mine = Optimisation.objects.filter(
            pk=lease.optimisation_id, generation=lease.generation, lease_token=lease.token
        )
        mine.update(
            attempts=F("attempts") + 1, error="It failed and is tried again; the server's log says why."
        )
        ended = mine.filter(attempts__gte=MOST_ATTEMPTS)
        ended.update(
            state=Optimisation.State.FAILED,
            error=f"It failed {MOST_ATTEMPTS} times in a row; the server's log says why.",
            finished_at=Now(),
        )
    except DatabaseError:
        log.warning("the database is away; the optimisation is tried again")
