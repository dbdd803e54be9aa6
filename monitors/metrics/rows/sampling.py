"""Rows of the log for what needs rows and not all of them."""

from collections.abc import Collection

import numpy as np

from driftline.base.periods import Period
from inference.prediction_log.models import ANSWERING_ROLES
from inference.prediction_log.queries.frames import LogFrame
from inference.prediction_log.queries.selectors import frame_of
from inference.registry.models import Model
from monitors.definitions.feature_kinds import kinds_in_rows


def sample_rows(
    *,
    model: Model,
    window: Period,
    rows: int,
    most: int,
    parts: int,
    rng: np.random.Generator,
    roles: Collection[str] = ANSWERING_ROLES,
    version_id: int | None = None,
) -> list[LogFrame]:
    """Read what callers were answered, or one version in some roles, in a window of about `rows` rows, by time.

    Where that is more than `most`, the window is cut into `parts` and a piece of each is read that lies elsewhere in
    each, so that about `most` rows are. Values of another type than their feature's are missing.
    """

    kinds = kinds_in_rows(model)

    def frame(piece: Period) -> LogFrame:
        found = frame_of(
            model=model, start=piece.start, end=piece.end, role=list(roles), version_id=version_id
        )  # fmt: skip
        return found.as_kinds(kinds)

    if rows <= most:
        return [frame(window)]
    part = (window.end - window.start) / parts
    length = part * (most / rows)
    starts = [
        window.start + part * number + (part - length) * float(begin)
        for number, begin in enumerate(rng.random(parts))
    ]
    return [frame(Period(start, start + length)) for start in starts]
