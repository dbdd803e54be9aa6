"""Goes on with an optimisation in a worker: a variant at a time, each written under the lease that it was tried in."""

import time
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from driftline.base.work.leased_work import WorkFailed, WorkLease, attempt
from inference.registry.models import Version
from inference.registry.selectors import signature_of
from inference.registry.trials import NotBuilt, Questions, Unfit, try_variant
from inference.registry.trials.orders import Outcome, Packed, Trial, pack
from inference.runtime.variants.base import Feed
from inference.runtime.variants.kinds import KINDS
from monitors.optimiser import files
from monitors.optimiser.comparing import BrokenAnswers, compare, judged_outputs, storable
from monitors.optimiser.evaluation_set import EvaluationSet
from monitors.optimiser.judging import VariantVerdict, budget_of, judge
from monitors.optimiser.machine import machine
from monitors.optimiser.models import Optimisation, Variant
from monitors.optimiser.sampling import TrialRows, trial_rows

SLICE_S = 120.0  # then other work of the worker gets its turn


def resume_optimisation(optimisation_id: int) -> bool:
    """Try the variants that are left, as many as fit into a slice; returns whether there was something to do."""
    rows = Optimisation.objects.filter(pk=optimisation_id)
    return attempt(rows, _work, state=Optimisation.State.RUNNING)


def _work(lease: WorkLease[Optimisation]) -> None:
    optimisation = lease.read()
    version = Version.objects.select_related("model__project").get(pk=optimisation.version_id)
    try:
        all_tried = _try_variants(lease, version, optimisation.generation)
    except FileNotFoundError as error:
        raise WorkFailed("The version's file is gone; restore it and ask again.") from error
    if all_tried:
        lease.finish(Optimisation.State.DONE)
    else:
        lease.release()


def _try_variants(lease: WorkLease[Optimisation], version: Version, generation: int) -> bool:
    """Try one variant after another; False where the slice ended before all were tried."""
    tried = set(Variant.objects.filter(version=version, generation=generation).values_list("kind", flat=True))
    left = [kind for kind in KINDS if kind not in tried]
    if not left:
        return True
    rows, until = trial_rows(version), time.monotonic() + SLICE_S
    questions = _questions(rows)
    for kind in left:
        if time.monotonic() > until:
            return False
        outcome = try_variant(
            settings.HOME / version.path, kind, questions, judged_outputs(signature_of(version))
        )
        _keep(lease, version, kind, outcome, rows.asked)
        lease.note_progress()
    return True


def _questions(rows: TrialRows) -> Questions:
    return Questions(_packed(rows.calibration.feed), _packed(rows.asked.feed), rows.calibration_is_made_up)


def _packed(feed: Feed) -> dict[str, Packed]:
    return {name: pack(values) for name, values in feed.items()}


def _keep(
    lease: WorkLease[Optimisation], version: Version, kind: str, outcome: Outcome, rows: EvaluationSet
) -> None:
    """Write a variant's row in place of the one of before, and its file where it gains."""
    found = _judged(version, outcome, rows)
    if isinstance(outcome, Trial) and found["status"] == Variant.Status.GAIN:
        found["path"] = files.keep(outcome.content)
    with lease.fenced() as optimisation:
        before = Variant.objects.filter(version=version, kind=kind).first()
        Variant.objects.update_or_create(
            version=version,
            kind=kind,
            defaults={
                "generation": optimisation.generation,
                "machine": machine(),
                "made_at": Now(),
                "registered": None,
                **found,
            },
        )
        if before is not None:
            transaction.on_commit(partial(files.remove_if_unused, before.path))


def _judged(version: Version, outcome: Outcome, rows: EvaluationSet) -> dict[str, Any]:
    """Return the columns of a variant's row."""
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
    verdict: VariantVerdict = judge(
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
