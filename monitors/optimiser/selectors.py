"""Reads of the optimiser."""

from typing import Any

from django.db.models import QuerySet

from driftline.common.errors import not_found
from driftline.common.periods import rfc3339
from inference.registry.models import Version
from inference.runtime.variants.kinds import KINDS
from monitors.optimiser.models import Optimisation, Variant

_ORDER = list(KINDS)


def optimisation_of(version: Version) -> Optimisation | None:
    """Find a version's optimisation; None where nobody has asked for one."""
    return Optimisation.objects.filter(version=version).first()


def variants_of(version: Version) -> list[Variant]:
    """List a version's variants in the order in which they are built."""
    found: QuerySet[Variant] = version.variants.select_related("registered", "version")
    return sorted(
        found, key=lambda variant: _ORDER.index(variant.kind) if variant.kind in KINDS else len(_ORDER)
    )


def get_variant(*, version: Version, kind: str) -> Variant:
    """Find one variant of a version."""
    if kind not in KINDS:
        raise not_found("variant")
    found = (
        Variant.objects.select_related("version__model__project").filter(version=version, kind=kind).first()
    )
    if found is None:
        raise not_found("variant")
    return found


def progress_of(optimisation: Optimisation) -> float:
    """Tell the share of the kinds that are tried, from 0 to 1."""
    tried = Variant.objects.filter(
        version=optimisation.version_id, generation=optimisation.generation
    ).count()
    return tried / len(KINDS)


def describe_optimisation(optimisation: Optimisation) -> dict[str, Any]:
    """Write an optimisation as the API gives it."""
    return {
        "state": optimisation.state,
        "progress": round(progress_of(optimisation), 4),
        "error": optimisation.error or None,
        "requested_by": optimisation.requested_by,
        "requested_at": rfc3339(optimisation.requested_at),
        "finished_at": rfc3339(optimisation.finished_at) if optimisation.finished_at else None,
    }


def describe_variant(variant: Variant) -> dict[str, Any]:
    """Write a variant as the API gives it; sizes in bytes."""
    return {
        "kind": variant.kind,
        "title": title_of(variant),
        "status": variant.status,
        "reason": variant.reason,
        "sha256": variant.sha256 or None,
        "size": variant.size,
        "original_size": variant.version.size,
        "measured": variant.measured,
        "machine": variant.machine,
        "made_at": rfc3339(variant.made_at),
        "registered_as": variant.registered.version if variant.registered else None,
    }


def title_of(variant: Variant) -> str:
    """Say the kind in words; a kind that is built no more has its name."""
    return KINDS.get(variant.kind, variant.kind)
