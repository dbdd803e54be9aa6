"""Streams for detectors, and what river finds in one of them."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from monitors.stats.streams.adwin import Adwin
from monitors.stats.streams.change import Change
from monitors.stats.streams.page_hinkley import PageHinkley

GOLDEN = json.loads((Path(__file__).parents[3] / "golden" / "detectors.json").read_text())


def golden_stream() -> list[float]:
    """Numbers without a library's generator, so that river read the same ones."""
    x, values = 1, []
    for i in range(3000):
        x = (1103515245 * x + 12345) % 2**31
        values.append((0.8 if 1000 <= i < 2000 else 0.2) * x / 2**31)
    return values


def read(detector: Adwin | PageHinkley, values: Iterable[float]) -> list[tuple[int, Change]]:
    """Give a detector all values; returns its changes with the place of the value that told."""
    told = ((place, detector.update(float(value), place)) for place, value in enumerate(values))
    return [(place, change) for place, change in told if change is not None]


def restart_after_changes[D: Adwin | PageHinkley](
    make: Callable[[], D], values: Iterable[float]
) -> tuple[list[int], dict[int, D]]:
    """Do as river does, which begins with an empty detector after a change; tells the states as well.

    A state is that of each 300th value that told no change.
    """
    detector, changes, states = make(), [], {}
    for place, value in enumerate(values):
        if detector.update(value, place) is not None:
            changes.append(place)
            detector = make()
        elif place % 300 == 299:
            states[place] = type(detector).decode(detector.encode())
    return changes, states


def step(rng: np.random.Generator, *, at: int, to: int, height: float) -> np.ndarray:
    """Standard normal values whose mean is `height` from the place `at` on."""
    values = rng.normal(0, 1, to)
    values[at:] += height
    return values
