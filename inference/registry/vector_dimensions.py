"""The dimension of each vector among a version's features: the first one stands, and vectors of others are refused."""

from collections.abc import Iterable, Mapping

from driftline.base.errors import Problem
from driftline.base.strict_json import printable
from inference.registry.models import VectorFeature
from inference.signatures import Signature

type Dimensions = Mapping[tuple[int, str], int]
"""By the key of a version and the name of a feature."""


def dimensions_of(version_ids: Iterable[int]) -> Dimensions:
    """Return the dimensions that are known of some versions."""
    found = VectorFeature.objects.filter(version__in=list(version_ids))
    return {
        (version_id, feature): dimension
        for version_id, feature, dimension in found.values_list("version_id", "feature", "dimension")
    }


def remember_dimensions(version_id: int, found: Mapping[str, int]) -> None:
    """Store the dimensions of a version's vectors where none is known, in the caller's transaction.

    Raises Problem (409) where others are known, as those of a request that came at the same time.
    """
    known = dimensions_of([version_id]) if found else {}
    fresh = [
        VectorFeature(version_id=version_id, feature=feature, dimension=dimension)
        for feature, dimension in sorted(found.items())
        if (version_id, feature) not in known
    ]
    if fresh:
        VectorFeature.objects.bulk_create(fresh, ignore_conflicts=True)
        known = dimensions_of([version_id])
    for feature, dimension in sorted(found.items()):
        if (first := known[version_id, feature]) != dimension:
            detail = (
                f"The vectors {printable(feature)!r} of this version have {first:,} numbers since a moment ago, and "
                f"these have {dimension:,}; nothing of the request was stored. Log what another encoder made under "
                "another version."
            )
            raise Problem(409, "wrong_dimension", detail)


def embedding_of(signature: Signature) -> dict[str, int]:
    """Return the dimension of the embedding that a version gives, by its name, where its graph says it."""
    return {
        spec.name: spec.shape[1]
        for spec in signature.outputs
        if spec.name == signature.embedding_output and len(spec.shape) == 2 and spec.shape[1] > 0
    }
