"""Tells when the live serving processes have a change of the plan, by the status files that they write."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.registry.models import Model, PlanGeneration

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
