"""Reports when the live serving processes have a change of the plan, by the status files that they write."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from inference.registry.models import Model, PlanGeneration, Version
from inference.serving.status.status import live_reports

_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class ServingProcessName:
    """A serving process by its number, and by its serving host where it is on another machine."""

    pid: int
    host: str | None = None

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> Self:
        """Name the process of a status report."""
        return cls(report["pid"], report.get("host"))

    def __str__(self) -> str:
        return f"{self.pid} on {self.host}" if self.host else str(self.pid)


@dataclass(frozen=True)
class PlanUptake:
    """Which live processes serve the model as the plan says, and why the others do not."""

    reported: list[ServingProcessName]
    missing: dict[ServingProcessName, str]


def await_uptake(*, model: Model, home: Path, timeout: float = 5.0) -> PlanUptake:
    """Wait until every live serving process serves `model` by the newest plan, at most `timeout` seconds."""
    generation = PlanGeneration.objects.filter(pk=1).values_list("value", flat=True).first() or 0
    deadline = time.monotonic() + timeout
    while True:
        uptake = _look(model, home, generation)
        if not uptake.missing or time.monotonic() > deadline:
            return uptake
        time.sleep(_LOOK_SECONDS)


@dataclass(frozen=True)
class InProcess:
    """How one serving process has a version: the provider that runs it, else why it could not be loaded.

    With neither it is not in memory. `paused` is the failure after which copies pause, where it shadows.
    """

    process: ServingProcessName
    provider: str | None
    asked: str | None
    fallback: str | None
    nodes: dict[str, int]
    failure: str | None
    paused: str | None


def serving_of(version: Version, reports: Iterable[dict[str, Any]]) -> list[InProcess]:
    """Return how each process has a version; `reports` are those of `live_reports`, read once for all versions."""
    return [_in_process(version, report) for report in reports]


def _in_process(version: Version, report: dict[str, Any]) -> InProcess:
    key = str(version.pk)
    execution = report.get("executions", {}).get(key, {})
    return InProcess(
        process=ServingProcessName.of(report),
        provider=execution.get("used"),
        asked=execution.get("asked"),
        fallback=execution.get("fallback"),
        nodes=execution.get("nodes", {}),
        failure=report.get("failed_versions", {}).get(key),
        paused=_paused(version, report.get("shadows", [])),
    )


def _paused(version: Version, shadows: Iterable[dict[str, Any]]) -> str | None:
    """Return the last failure of a shadow whose circuit is not closed."""
    for shadow in shadows:
        if (shadow["model_id"], shadow["version"]) == (version.model_id, version.version):
            return None if shadow["circuit"] == "closed" else str(shadow["last_failure"])
    return None


def _look(model: Model, home: Path, generation: int) -> PlanUptake:
    uptake = PlanUptake([], {})
    for report in live_reports(home):
        process = ServingProcessName.of(report)
        if report["generation"] < generation:
            uptake.missing[process] = f"it still serves plan {report['generation']}, not {generation}"
        elif reason := report["stale_models"].get(str(model.pk)):
            uptake.missing[process] = reason
        else:
            uptake.reported.append(process)
    return uptake
