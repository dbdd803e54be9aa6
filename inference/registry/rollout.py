"""Tells when the live serving processes have a change of the plan, by the status files that they write."""

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.registry.models import Model, PlanGeneration, Version

_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Rollout:
    """Which live processes serve the model as the plan says, and why the others do not."""

    reported: list[int]
    missing: dict[int, str]  # pid -> reason


def await_rollout(*, model: Model, home: Path, timeout: float = 5.0) -> Rollout:
    """Wait until every live serving process serves `model` by the newest plan, at most `timeout` seconds."""
    generation = PlanGeneration.objects.filter(pk=1).values_list("value", flat=True).first() or 0
    deadline = time.monotonic() + timeout
    while True:
        rollout = _look(model, home, generation)
        if not rollout.missing or time.monotonic() > deadline:
            return rollout
        time.sleep(_LOOK_SECONDS)


def live_reports(home: Path) -> Iterator[dict[str, Any]]:
    """Read the status files of the serving processes that live."""
    for path in sorted((home / "serving").glob("*.json")):
        try:
            report = json.loads(path.read_text())
        except (OSError, ValueError):
            continue  # the file is being replaced or removed
        if _lives(report["pid"]):
            yield report


@dataclass(frozen=True)
class InProcess:
    """How one serving process has a version: the provider that runs it, else why it could not be loaded.

    With neither it is not in memory. `paused` is the failure after which copies pause, where it shadows.
    """

    pid: int
    provider: str | None
    asked: str | None
    fallback: str | None
    nodes: dict[str, int]
    failure: str | None
    paused: str | None


def serving_of(version: Version, reports: Iterable[dict[str, Any]]) -> list[InProcess]:
    """Tell how each process has a version; `reports` are those of `live_reports`, read once for all versions."""
    return [_in_process(version, report) for report in reports]


def _in_process(version: Version, report: dict[str, Any]) -> InProcess:
    key = str(version.pk)
    execution = report.get("executions", {}).get(key, {})
    return InProcess(
        pid=report["pid"],
        provider=execution.get("used"),
        asked=execution.get("asked"),
        fallback=execution.get("fallback"),
        nodes=execution.get("nodes", {}),
        failure=report.get("failed_versions", {}).get(key),
        paused=_paused(version, report.get("shadows", [])),
    )


def _paused(version: Version, shadows: Iterable[dict[str, Any]]) -> str | None:
    """Give the last failure of a shadow whose circuit is not closed."""
    for shadow in shadows:
        if (shadow["model_id"], shadow["version"]) == (version.model_id, version.version):
            return None if shadow["circuit"] == "closed" else str(shadow["last_failure"])
    return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives, as another user
    return True


def _look(model: Model, home: Path, generation: int) -> Rollout:
    reported: list[int] = []
    missing: dict[int, str] = {}
    for report in live_reports(home):
        if report["generation"] < generation:
            missing[report["pid"]] = f"it still serves plan {report['generation']}, not {generation}"
        elif reason := report["stale_models"].get(str(model.pk)):
            missing[report["pid"]] = reason
        else:
            reported.append(report["pid"])
    return Rollout(reported, missing)
