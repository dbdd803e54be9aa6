"""Rows that a version and its variants are asked, with what is known of the truth; pure."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.runtime.variants.base import Feed

MIN_LABELLED = 100
"""Of fewer labels no quality is judged."""
MAX_CALIBRATION_ROWS = 500


@dataclass(frozen=True)
class EvaluationSet:
    """Rows as a version's inputs take them; `y` codes the labels, NaN where there is none, `block` the event day.

    `source` says in words where they come from.
    """

    feed: Feed
    y: NDArray[np.float64]
    block: NDArray[np.int64]
    source: str

    def __len__(self) -> int:
        return len(self.y)

    @property
    def labelled(self) -> int:
        return int((~np.isnan(self.y)).sum())

    def take(self, where: NDArray[Any]) -> "EvaluationSet":
        feed = {name: values[where] for name, values in self.feed.items()}
        return replace(self, feed=feed, y=self.y[where], block=self.block[where])
