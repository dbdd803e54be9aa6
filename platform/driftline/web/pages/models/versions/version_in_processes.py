"""A version in the serving processes: whether each holds it and where it runs, and which copies it dropped."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from inference.registry.models import Model, Version
from inference.registry.plan.plan_uptake import InProcess, ServingProcessName, serving_of
from inference.serving.counts.metrics import read_label_key
from inference.serving.status.status import live_reports, total_counts


@dataclass(frozen=True)
class ProcessReport:
    """How one serving process has a version, in words; `status` is a badge's state."""

    process: ServingProcessName
    status: str
    words: str


def version_in_processes(version: Version, home: Path) -> list[ProcessReport]:
    """Return of each live process whether it holds the version, where it runs, and why it does not."""
    return [ProcessReport(one.process, *_words(one)) for one in serving_of(version, live_reports(home))]


def _words(one: InProcess) -> tuple[str, str]:
    if one.failure:
        return "critical", one.failure
    if one.provider is None:
        return "no_data", "Not in memory; it is loaded when it is deployed or asked for."
    if one.paused is not None:
        return "warning", f"Its copies pause because most of the last ones failed: {one.paused}"
    if one.fallback:
        return "warning", f"In memory, on {one.provider}, not on {one.asked}: {one.fallback}"
    return "ok", f"In memory, on {one.provider}"


def shadow_drops(model: Model, version: str, home: Path) -> Counter[str]:
    """Count the batches that a shadow dropped since this home began, by reason, over all processes."""
    drops: Counter[str] = Counter()
    for key, count in total_counts(home)["shadow_drops"].items():
        model_id, name, reason = read_label_key(key)
        if (model_id, name) == (model.pk, version):
            drops[reason] += count
    return drops
