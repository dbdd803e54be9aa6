"""Rows of the log for what needs rows and not all of them."""

import numpy as np

from driftline.common.periods import Period
from inference.prediction_log.models import ANSWERING_ROLES
from inference.prediction_log.selectors import LogFrame, frame_of
from inference.registry.models import Model


def sample_rows(
    *, model: Model, window: Period, rows: int, most: int, parts: int, rng: np.random.Generator
) -> list[LogFrame]:
    """Read what callers were answered in a window of about `rows` rows, in order of time.

    Where that is more than `most`, the window is cut into `parts` and a piece of each is read that lies elsewhere in
    each, so that about `most` rows are.
    """
    if rows <= most:
        return [_frame(model, window)]
    part = (window.end - window.start) / parts
    length = part * (most / rows)
    starts = [
        window.start + part * number + (part - length) * float(begin)
        for number, begin in enumerate(rng.random(parts))
    ]
    return [_frame(model, Period(start, start + length)) for start in starts]


def _frame(model: Model, window: Period) -> LogFrame:
    return frame_of(model=model, start=window.start, end=window.end, role=ANSWERING_ROLES)
