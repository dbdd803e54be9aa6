"""What the optimiser's table on the page of a version shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inference.registry.models import Version
from monitors.metrics.answers.quality_effect import main_metric
from monitors.optimiser.models import Variant
from monitors.optimiser.selectors import optimisation_of, progress_of, title_of, variants_of

_BADGES = {"gain": "ok", "no_gain": "no_data", "refused": "critical", "not_applicable": "no_data"}


@dataclass(frozen=True)
class Original:
    """What the variants are compared with, as the first measured one found it."""

    source: str
    rows: int
    labelled: int
    metric: str
    quality: float | None
    medians_us: list[float | None]


@dataclass(frozen=True)
class VariantRow:
    """One variant as the table shows it; what was not measured is None."""

    variant: Variant
    title: str
    badge: str
    quality: float | None
    agreement: float | None
    mean_difference: float | None
    size_share: float | None
    timings: list[dict[str, Any]]


def table_of(version: Version) -> Mapping[str, Any]:
    """Gather what the table of a version's variants shows."""
    optimisation, variants = optimisation_of(version), variants_of(version)
    measured = next((variant.measured for variant in variants if variant.measured), None)
    original = _original(measured, main_metric(version.model)) if measured else None
    return {
        "optimisation": optimisation,
        "optimised_share": progress_of(optimisation) if optimisation else None,
        "variants": [_row(variant, original.metric if original else "") for variant in variants],
        "original": original,
    }


def _original(measured: dict[str, Any], main: str) -> Original:
    """Show the model's main metric, or another one where the labels do not allow that."""
    quality = measured["quality"]
    metric = main if main in quality else next(iter(quality), "")
    return Original(
        source=measured["source"],
        rows=measured["rows"],
        labelled=measured["labelled"],
        metric=metric,
        quality=quality[metric]["original"] if metric else None,
        medians_us=[timing["original_us"][1] for timing in measured["timings"]],
    )


def _row(variant: Variant, metric: str) -> VariantRow:
    measured = variant.measured or {}
    return VariantRow(
        variant=variant,
        title=title_of(variant),
        badge=_BADGES[variant.status],
        quality=measured.get("quality", {}).get(metric, {}).get("variant"),
        agreement=measured.get("agreement"),
        mean_difference=measured.get("mean_difference"),
        size_share=variant.size / variant.version.size if variant.size else None,
        timings=measured.get("timings", []),
    )
