"""Writes of the optimiser: an optimisation that is asked for, and a variant that becomes a version."""

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem
from driftline.base.work.task_queue import Task, enqueue
from inference.registry.intake.metadata import declare
from inference.registry.lineage import Lineage
from inference.registry.models import Version
from inference.registry.selectors import signature_of
from inference.registry.versions import upload_version
from monitors.optimiser.models import Optimisation, Variant


def request_optimisation(*, version: Version, actor: str) -> Optimisation:
    """Ask for every variant of a version to be built and measured; while one is under way, that one is returned.

    Raises Problem `version_has_no_artifact` (409) for a version without a file.
    """
    if not version.has_artifact:
        raise Problem(
            409,
            "version_has_no_artifact",
            f"Another server answers version {version.version}; upload its ONNX to optimise it here.",
        )
    with transaction.atomic():
        optimisation, is_new = Optimisation.objects.select_for_update().get_or_create(
            version=version, defaults={"requested_by": actor}
        )
        if not is_new and optimisation.is_unfinished:
            return optimisation
        if not is_new:
            _begin_again(optimisation, actor)
        record_audit(
            project=version.model.project, actor=actor, action="version.optimise", subject=str(version)
        )
        enqueue(Task.LONG_WORK)
    optimisation.refresh_from_db()
    return optimisation


def _begin_again(optimisation: Optimisation, actor: str) -> None:
    Optimisation.objects.filter(pk=optimisation.pk).begin_again(requested_by=actor, requested_at=Now())


def register_variant(*, variant: Variant, actor: str) -> tuple[Version, bool]:
    """Make a version of a variant that gains, through the same intake as any upload, with its parent in the lineage.

    Returns the version and whether it is new. Raises Problem: `variant_refused` (409) where it gains nothing or costs
    too much, `variant_lost` (410) where its file is gone, and the refusals of the intake.
    """
    if variant.status != Variant.Status.GAIN:
        raise Problem(
            409, "variant_refused", f"The variant {variant.kind} cannot become a version. {variant.reason}"
        )
    try:
        with (settings.HOME / variant.path).open("rb") as stream:
            version, is_new = upload_version(
                model=variant.version.model,
                stream=stream,
                metadata=msgspec.json.encode(declare(signature_of(variant.version))),
                lineage=_lineage(variant),
                actor=actor,
                expected_sha256=variant.sha256,
            )
    except FileNotFoundError as error:
        raise Problem(
            410,
            "variant_lost",
            f"The file of the variant {variant.kind} is gone; optimise the version again.",
        ) from error
    Variant.objects.filter(pk=variant.pk, sha256=variant.sha256).update(registered=version)
    return version, is_new


def _lineage(variant: Variant) -> Lineage:
    """Return what the variant is made from; it has learnt from the parent's data and from nothing else."""
    origin, measured = variant.version.lineage, variant.measured or {}
    return Lineage(
        parent=variant.version.version,
        trainer="optimiser",
        parameters={"variant": variant.kind},
        trigger=f"optimisation of version {variant.version.version}",
        parity={
            "rows": measured.get("rows"),
            "max_difference": measured.get("max_difference"),
        },
        **({"data": origin["data"]} if origin.get("data") else {}),
    )
