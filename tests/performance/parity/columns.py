"""Columns that the grid of the summaries was not chosen on: real ones that packages ship, and made-up hard ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from sklearn import datasets
from statsmodels import datasets as more_datasets

SHIFTS = (
    0.05,
    0.1,
    0.15,
    0.2,
    0.3,
)  # of the reference's standard deviation: where decisions lie near their lines
MIN_VALUES = 6  # distinct ones: Evidently takes a column of fewer as categories
SIZES = ((5_000, 2_000), (800, 300))

type Shape = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """A window beside its reference, both raw rows; `group` is the source of the column."""

    group: str
    column: str
    reference: np.ndarray
    current: np.ndarray


# -- real --------------------------------------------------------------------------------------------------------------
def real_columns() -> Iterator[tuple[str, str, np.ndarray]]:
    """Give source, name and values of every numeric column, in the order of the file."""
    for name in ("breast_cancer", "wine", "digits", "diabetes"):
        loaded = getattr(datasets, f"load_{name}")(as_frame=True)
        yield from _columns_of(f"scikit-learn {name}", loaded.data)
    for name in ("randhie", "fair", "anes96", "modechoice", "star98", "co2", "sunspots"):
        yield from _columns_of(f"statsmodels {name}", getattr(more_datasets, name).load_pandas().data)


def _columns_of(group: str, frame) -> Iterator[tuple[str, str, np.ndarray]]:
    for name in frame.select_dtypes("number"):
        values = frame[name].to_numpy(np.float64)
        if np.unique(values[~np.isnan(values)]).size >= MIN_VALUES:
            yield group, str(name), values


# -- made up -----------------------------------------------------------------------------------------------------------
HARD: dict[str, Shape] = {
    "N(1e6, 100)": lambda rng, n: rng.normal(1e6, 100, n),
    "lognormal, sigma 2": lambda rng, n: rng.lognormal(0, 2, n),
    "60% zeros": lambda rng, n: np.where(rng.random(n) < 0.6, 0.0, rng.exponential(size=n)),
    "12 values": lambda rng, n: rng.integers(0, 12, n).astype(float),
    "integers to 1e9": lambda rng, n: rng.integers(0, 10**9, n).astype(float),
    "integers to 1e9, log-uniform": lambda rng, n: np.floor(10 ** rng.uniform(0, 9, n)),
    "epoch seconds of a month": lambda rng, n: np.floor(1.76e9 + rng.uniform(0, 2.6e6, n)),
    "epoch milliseconds of a day": lambda rng, n: np.floor(1.76e12 + rng.uniform(0, 8.64e7, n)),
    "two modes, 7 apart": lambda rng, n: np.where(
        rng.random(n) < 0.5, rng.normal(-3, 1, n), rng.normal(4, 0.5, n)
    ),
    "two modes, 1,000 apart": lambda rng, n: np.where(
        rng.random(n) < 0.5, rng.normal(0, 1, n), rng.normal(1_000, 1, n)
    ),
    "Student t, 1.5": lambda rng, n: rng.standard_t(1.5, n),
    "latitudes of a town": lambda rng, n: rng.normal(40.7, 0.05, n),
    "kelvin": lambda rng, n: rng.normal(293, 6, n).round(1),
    "prices to the cent": lambda rng, n: rng.gamma(2, 20, n).round(2),
    "probabilities near 1": lambda rng, n: 1 - 10 ** -rng.uniform(1, 7, n),
    "float32 denormals": lambda rng, n: rng.normal(0, 1e-40, n),
    "a twentieth missing, some infinite": lambda rng, n: np.where(
        rng.random(n) < 0.05, np.nan, np.where(rng.random(n) < 0.01, np.inf, rng.normal(size=n))
    ),
}


def comparisons(rng: np.random.Generator) -> Iterator[Comparison]:
    """Give windows as the file has them, windows of shuffled rows, and these shifted by a little."""
    for group, name, values in real_columns():
        half, quarter = values.size // 2, values.size // 4
        for start in (half, half + quarter):
            yield Comparison(group, name, values[:half], values[start : start + quarter])
        mixed = rng.permutation(values)
        yield from _shifted(group, name, mixed[:half], mixed[half : half + quarter])
    for name, shape in HARD.items():
        for rows, window in SIZES:
            yield from _shifted("made up", name, shape(rng, rows), shape(rng, window))


def _shifted(group: str, name: str, reference: np.ndarray, current: np.ndarray) -> Iterator[Comparison]:
    finite = reference[np.isfinite(reference)]
    spread = np.std(finite)
    for shift in (0.0, *SHIFTS):
        yield Comparison(group, name, reference, current + shift * spread)
