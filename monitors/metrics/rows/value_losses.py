"""How much a model's labelled rows lost by the values of one feature."""

from dataclasses import dataclass

import numpy as np

from driftline.base.periods import HOUR_US, Period
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.registry.models import Model
from monitors.metrics.rows.sampling import sample_rows
from monitors.metrics.rows.segment_rows import held_rows, losses_of
from monitors.metrics.rows.segment_search import loss_of
from monitors.metrics.store.models import RowLoss
from monitors.stats.causes.value_losses import ValueLoss, losses_by_value

MAX_READ_ROWS = 10_000  # rows: it is answered while somebody waits
PARTS = 24


@dataclass(frozen=True)
class ValueLosses:
    """What `n` labelled rows lost on average, and those with each value; `reason` is why nothing is told."""

    loss: RowLoss
    n: int
    mean: float | None
    values: list[ValueLoss]
    reason: str = ""


def value_losses(*, model: Model, feature: str, window: Period, loss: str = "") -> ValueLosses:
    """Read what rows of a window lost by the values of a feature; a large window is sampled.

    Raises Problem `invalid_request` for a loss that the task has not, `no_row_loss` and `rows_not_kept` (409).
    """
    refuse_without_rows(model, "What rows lost by their values")
    chosen = loss_of(model, loss)
    rows, _ = held_rows(model, window)
    rng = np.random.default_rng(abs(int(window.start.timestamp())))
    frames = sample_rows(model=model, window=window, rows=rows, most=MAX_READ_ROWS, parts=PARTS, rng=rng)
    own = [frame for frame in frames if len(frame) and feature in frame.features]
    if not own:
        return ValueLosses(chosen, 0, None, [], f"No row of this time holds {feature}.")
    if any(feature in frame.dropped for frame in own):
        return ValueLosses(chosen, 0, None, [], f"Values of {feature} are not kept.")
    losses = np.concatenate([losses_of(model, frame, chosen) for frame in own])
    known = np.isfinite(losses)
    if not known.any():
        return ValueLosses(chosen, 0, None, [], "No row of this time has a label by which it can be judged.")
    values = np.concatenate([frame.features[feature] for frame in own])[known]
    hours = np.concatenate([frame.times_us for frame in own])[known] // HOUR_US
    found = losses_by_value(feature, values, losses[known], hours)
    return ValueLosses(chosen, int(known.sum()), float(losses[known].mean()), found)
