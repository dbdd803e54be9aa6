"""What the summaries of a model say, and workers that die while they make them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from msgspec.structs import replace

from driftline.operations.invariants import check_all
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.stats.mergeable.sketches import CategoricalSummary, NumericSummary
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.summaries.models import Summary
from tests.embedded import subprocess_environment
from tests.worlds.approvals import DAY, rows_of_a_day

CHECKOUT = Path(__file__).parents[2]
CANARY = "canary.Zoe-4711"


def rows_with_notes(n: int) -> list[SentPrediction]:
    """Make a day's rows with a number and a text that are nobody's business."""
    return [
        replace(row, features=row.features | {"salary": 4711.25 + place, "note": CANARY})
        for place, row in enumerate(rows_of_a_day(DAY, n))
    ]


def keep_values(model: Model, policy: str) -> None:
    """Choose how the values that are nobody's business are kept."""
    update_model(model=model, actor="test", privacy={"salary": policy, "note": policy})


def summaries_of(model: Model) -> dict[Any, Any]:
    """What the summaries of a model say, apart from the order in which they added numbers up."""
    return {
        (one.span, one.start, one.role, one.segment): _summary_of(WindowSummary.decode(bytes(one.payload)))
        for one in Summary.objects.filter(model=model)
    }


def _summary_of(window: WindowSummary) -> dict[str, Any]:
    columns = {
        **window.features,
        "prediction": window.prediction,
        "score": window.score,
        "ms": window.latency_ms,
    }
    outcome = window.outcome
    return {
        "rows": window.rows,
        "labelled": window.labelled,
        "columns": {name: _column(column) for name, column in columns.items()},
        "outcome": outcome and outcome.n,
    }


def _column(column: Any) -> Any:
    if isinstance(column, CategoricalSummary):
        return column.counts, column.rest, column.missing
    assert isinstance(column, NumericSummary)
    return column.keys.tolist(), column.counts.tolist(), column.n, column.missing


def broken_invariants() -> list[str]:
    return [f"{one.statement}: {one.counts}" for one in check_all() if not one.holds]


def let_workers_die(model: Model, *steps: str) -> None:
    """Kill a worker on the model after each of these steps of `monitors.summaries.services`, then let it be retried."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.flows.dying_worker",
            connection.settings_dict["NAME"],
            str(model.pk),
            *steps,
        ],
        cwd=CHECKOUT,
        env=subprocess_environment()
        | {
            "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'platform'}",
            "DJANGO_SETTINGS_MODULE": "driftline.settings",
            "DRIFTLINE_HOME": str(settings.HOME),
        },
        check=True,
    )
    model.touched_periods.update(lease_until=None, attempts=0)
