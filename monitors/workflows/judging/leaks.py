"""A feature that knew the answer in the rows that were learnt from, and does not know it when it is asked.

Such a leak shows in two numbers together: the challenger's advantage on the rows set aside is far greater than on live
requests, and one feature explains far more of the label there than here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftline.base.number_format import format_number
from inference.prediction_log.queries.frames import LogFrame
from inference.registry.files.datasets import path_of
from inference.registry.models import Dataset
from inference.signatures import Signature
from monitors.stats.explained_share import explained_share
from monitors.stats.promotion.differences import MetricDifference
from monitors.workflows.context import Evidence
from monitors.workflows.starting.snapshots import HOLDOUT, column_of, from_log

MIN_EXPLAINED = 0.1
"""What explains less of the label cannot have made much of a difference."""
KEPT = 0.5
"""A leak keeps less than so much of the advantage and of the explained share on live requests."""
SURE = 3.0
"""By how many standard errors the two advantages differ."""
HALF_WIDTH = 1.645
"""Of the intervals of a comparison, in standard errors, at least."""


@dataclass(frozen=True)
class Leak:
    """The feature, and how much of the label it explained in the rows set aside and on live requests."""

    feature: str
    learnt: float
    live: float
    advantage: str

    @property
    def sentence(self) -> str:
        """Return what leaks, and how that shows."""
        return (
            f"{self.feature[:60]} knows the answer in the training rows only: it explains {self.learnt:.0%} of the "
            f"label there, {self.live:.0%} on live requests ({self.advantage})"
        )


def find_leak(
    asked: LogFrame,
    signature: Signature,
    *,
    snapshot: int,
    held_out: Evidence | None,
    live: MetricDifference | None,
) -> Leak | None:
    """Look for a leak of a challenger that passed the gate: `asked` are live requests with their labels, `held_out` is
    what validation found of the objective, and `live` what the gate did."""
    if live is None or held_out is None or not _shrinks(held_out, live):
        return None
    learnt = _held_out_rows(snapshot)
    requests = from_log(asked, signature)
    shares = {
        feature.name: (_explained(learnt, feature.name), _explained(requests, feature.name))
        for feature in signature.features
    }
    name, (there, here) = max(shares.items(), key=lambda one: one[1][0] - one[1][1])
    if there < MIN_EXPLAINED or here > KEPT * there:
        return None
    return Leak(name, there, here, _advantage(held_out, live))


def _shrinks(held_out: Mapping[str, Any], live: MetricDifference) -> bool:
    """Return whether the advantage on live requests is beyond chance below half of that on the rows set aside."""
    if None in (held_out["difference"], held_out["lower"], held_out["upper"]):
        return False
    sign = 1 if live.higher_is_better else -1
    there, here = sign * held_out["difference"], sign * live.difference
    if there <= 0:
        return False
    widths = np.array([held_out["upper"] - held_out["lower"], live.upper - live.lower])
    error = float(np.linalg.norm(widths)) / 2 / HALF_WIDTH
    return here < KEPT * there and there - here > SURE * error


def _advantage(held_out: Mapping[str, Any], live: MetricDifference) -> str:
    return (
        f"{live.metric.replace('_', ' ')} changes by {format_number(held_out['difference'])} on the rows set aside, by "
        f"{format_number(live.difference)} live"
    )


def _held_out_rows(snapshot: int) -> pa.Table:
    table = pq.read_table(path_of(Dataset.objects.get(pk=snapshot)))
    return table.filter(pc.equal(table["split"], HOLDOUT))


def _explained(table: pa.Table, feature: str) -> float:
    return explained_share(column_of(table, feature), column_of(table, "label"))
