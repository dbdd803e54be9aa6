"""What a job has to know before it summarises rows of a version: the grid of each number, so that all merge."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from driftline.base.errors import Problem, invalid
from inference.image_names import image_parts, whole_by_name
from inference.prediction_log.spool.privacy import DROP, HASH
from inference.registry.models import Model, Version
from inference.registry.selectors import signature_of
from inference.registry.vector_dimensions import dimensions_of, embedding_of
from inference.signatures import Signature
from inference.vector_names import norm_of, part_names
from monitors.definitions.feature_kinds import declared_kinds
from monitors.definitions.models import FeatureProfile
from monitors.definitions.segment_masks import DeclaredSegments, declared_segments
from monitors.definitions.text_features import declared_texts
from monitors.stats.mergeable.untrusted import SummaryLayout
from monitors.stats.mergeable.window_summary import WindowSummary

PREDICTION = "prediction"


@dataclass(frozen=True)
class VersionLayout:
    """The layout of a version's summaries; `numbers` says of each feature whether it is declared as one, and `missing`
    are those without a centre, which a job has to choose. `vectors` has the dimension of each vector that is summarised
    by its parts. `measured` are the numbers that devices measure of the version's image and embedding, each with its
    centre if it has one; a summary may lack any."""

    version: Version
    signature: Signature
    layout: SummaryLayout
    numbers: Mapping[str, bool]
    missing: tuple[str, ...]
    segments: DeclaredSegments
    vectors: Mapping[str, int]
    measured: Mapping[str, float | None]

    @property
    def unfixed(self) -> tuple[str, ...]:
        """The numbers that have no centre yet, with those that are measured."""
        return (*self.missing, *(name for name, centre in self.measured.items() if centre is None))

    def like(self, summary: WindowSummary) -> SummaryLayout:
        """Return the layout of a summary: with as much of what is measured as it has."""
        measured = {name: centre for name, centre in self.measured.items() if name in summary.features}
        return replace(self.layout, features={**self.layout.features, **measured})

    def feature_of(self, segment: str) -> str | None:
        """Return the feature by a value of which a segment is named; None where it is no such segment."""
        named = (one for one in self.segments.features if one in self.layout.features)
        found = (one for one in named if segment.startswith(f"{one}:") and len(segment) > len(one) + 1)
        return max(found, key=len, default=None)  # a name may begin with another one and a colon


def layout_of(model: Model, version: Version) -> VersionLayout:
    """Read the layout of a version; raises a 409 `Problem` where its summaries cannot be made elsewhere."""
    if model.task == "ranking":
        raise Problem(
            409,
            "unsupported_task",
            "A query of a ranking may have rows in several jobs; log its rows in place of this.",
        )
    if version.signature is None:
        raise Problem(
            409,
            "unknown_signature",
            f"Nobody has said which features version {version.version} has; upload it, or a reference, first.",
        )
    signature = signature_of(version)
    known = dict(model.feature_profiles.values_list("feature", "centre"))
    if signature.task == "multiclass" and not signature.classes:
        raise Problem(
            409,
            "unknown_classes",
            f"Nobody has said which classes version {version.version} has; upload it first.",
        )
    # What the log would hash or drop, nobody may send in a summary either.
    hidden = {name for name, policy in model.privacy.items() if policy in (HASH, DROP)}
    hidden |= set(declared_texts(model))  # jobs measure no texts, and whole texts are no categories
    numbers = {
        name: is_number
        for name, is_number in declared_kinds(signature).items()
        if name not in hidden and whole_by_name(name) not in hidden
    }
    features = {name: known.get(name) for name in numbers}
    missing = [name for name, is_number in numbers.items() if is_number and name not in known]
    if signature.task == "regression" and PREDICTION not in known:
        missing.append(PREDICTION)
    centre = known.get(PREDICTION) if signature.task == "regression" else None
    layout = SummaryLayout(signature.task, features, centre, tuple(signature.classes))
    vectors = {
        name: dimension
        for (_, name), dimension in dimensions_of([version.pk]).items()
        if norm_of(name) in features
    }
    measured = {
        name: known.get(name)
        for name in _measured_names(version, signature)
        if name not in hidden and whole_by_name(name) not in hidden and known.get(name, 0.0) is not None
    }
    return VersionLayout(
        version, signature, layout, numbers, tuple(missing), declared_segments(model), vectors, measured
    )


def _measured_names(version: Version, signature: Signature) -> list[str]:
    """Name the numbers that the version's image and embedding become; nobody knows how many an embedding has before
    its dimension is known."""
    names = image_parts(signature.image_input) if signature.image_input else []
    dimensions = {name: size for (_, name), size in dimensions_of([version.pk]).items()} | embedding_of(
        signature
    )
    if (embedding := signature.embedding_output) in dimensions:
        names += part_names(embedding, dimensions[embedding])
    return names


def fix_centres(model: Model, version: Version, centres: Mapping[str, float]) -> VersionLayout:
    """Fix the centres of numbers that have none, once and for all; those that have one keep it.

    Raises a 422 `Problem` for a column that is no number of the version.
    """
    found = layout_of(model, version)
    numbers = {name for name, centre in found.layout.features.items() if centre is not None} | set(
        found.missing
    )
    if found.signature.task == "regression":
        numbers.add(PREDICTION)
    numbers |= found.measured.keys()
    for name in centres:
        if name not in numbers:
            raise invalid(
                "/centres", f"{name[:80]!r} is no number of version {version.version}.", "unknown_feature"
            )
    fresh = [
        FeatureProfile(model=model, feature=name, centre=centres[name])
        for name in found.unfixed
        if name in centres
    ]
    if not fresh:
        return found
    FeatureProfile.objects.bulk_create(
        fresh, ignore_conflicts=True
    )  # two jobs may begin together: the first decides
    return layout_of(model, version)
