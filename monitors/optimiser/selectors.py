"""Reads of the optimiser."""

from django.db.models import QuerySet

from driftline.base.errors import not_found
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
    """Return the share of the kinds that are tried, from 0 to 1."""
    tried = Variant.objects.filter(
        version=optimisation.version_id, generation=optimisation.generation
    ).count()
    return tried / len(KINDS)


def title_of(variant: Variant) -> str:
    """Return the kind in words; a kind that is built no more has its name."""
    return KINDS.get(variant.kind, variant.kind)
