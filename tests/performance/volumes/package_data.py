"""Traffic of real rows: tables that packages ship, and that nothing of the project was made with.

They were chosen before anything was run on them, for what they are: prices of 53,940 diamonds, a year of 20,190 people
of the RAND health insurance experiment, and blood samples of 7,874 people, some without a creatinine. None has days.
A model is trained on half of the rows; the reference and the days are drawn from the other half, with replacement, so
that a day shows chance alone, and as many rows as anybody wants.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from tests.performance.peer_servers import Environment
from tests.performance.volumes.worlds import Array, Traffic, TrafficDay, VolumeFault

ENVIRONMENT = "package-data"
REFERENCE_DAYS, MAX_DAILY_REFERENCE_ROWS = 30, 1_000
HOURS = tuple(range(6, 22))


@dataclass(frozen=True)
class PackageData:
    """A table, and how a model of it is made.

    `read` makes its features from the file, `label` what the model is asked. `units` are the features that faults
    break, each with the factor of the other unit in which somebody could send it.
    """

    path: str
    read: Callable[[Path], pd.DataFrame]
    label: Callable[[pd.DataFrame], pd.Series]
    without: tuple[str, ...]
    units: Mapping[str, float]


def _read_arff(path: Path) -> pd.DataFrame:
    """Read a table of Weka's format: attributes, then rows with commas and `?` for what is missing.

    Classes that are written as numbers, such as years, are numbers, as a CSV file of them would say.
    """
    lines = path.read_text().splitlines()
    names = [line.split()[1] for line in lines if line.startswith("@attribute")]
    rows = list(csv.reader(lines[lines.index("@data") + 1 :]))
    table = pd.DataFrame(rows, columns=names).replace("?", None)
    return table.apply(_as_numbers)


def _as_numbers(column: pd.Series) -> pd.Series:
    try:
        return pd.to_numeric(column)
    except ValueError:
        return column


PACKAGE_DATA = {
    "diamonds": PackageData(
        "plotnine/data/diamonds.csv",
        pd.read_csv,
        lambda table: table["price"] > table["price"].median(),
        without=("price",),
        units={"carat": 200.0, "x": 1 / 25.4, "depth": 0.01},  # milligrams, inches, a share
    ),
    "doctors": PackageData(
        "statsmodels/datasets/randhie/randhie.csv",
        pd.read_csv,
        lambda table: table["mdvis"] > 0,
        without=("mdvis",),
        units={
            "disea": 1 / 58.6,
            "lpi": 0.4343,
            "lncoins": 0.4343,
        },  # a share of the most; logarithms to base 10
    ),
    "light chains": PackageData(
        "sksurv/datasets/data/flchain.arff",
        _read_arff,
        lambda table: table["death"] == "dead",
        without=("futime", "death", "chapter"),
        units={"age": 12.0, "kappa": 10.0, "lambda": 10.0},  # months, milligrams a litre
    ),
}


@dataclass(frozen=True)
class Pool:
    """The rows that days are drawn from, with the probability that the model gives each."""

    features: dict[str, Array]
    score: Array
    labels: Array


@cache
def pool_of(name: str) -> Pool:
    """Train the model of a table on half of its rows, and return the other half as it answers it."""
    data = PACKAGE_DATA[name]
    table = data.read(Environment(ENVIRONMENT).packages() / data.path)
    table = table.sample(frac=1.0, random_state=0, ignore_index=True)
    labels = data.label(table).to_numpy(bool)
    features = table.drop(columns=list(data.without))
    words = [column for column in features if features[column].dtype.kind not in "if"]
    encoded = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), words), remainder="passthrough"
    )
    half = len(table) // 2
    model = make_pipeline(encoded, HistGradientBoostingClassifier(random_state=0))
    model.fit(features[:half], labels[:half])
    columns = {
        str(column): features[column][half:].to_numpy(object if column in words else float)
        for column in features
    }
    return Pool(columns, model.predict_proba(features[half:])[:, 1], labels[half:])


class PackagedTraffic(Traffic):
    """A history of draws from a table. Its reference has 30 days, of at most 1,000 rows each.

    Its owner asks for no floor of the ROC AUC: the rule follows from the reference.
    """

    reference_days = REFERENCE_DAYS

    def __init__(self, name: str, fault: VolumeFault | None, volume: int, seed: int) -> None:
        self.volume, self.pool = volume, pool_of(name)
        self.names, self.units = tuple(self.pool.features), PACKAGE_DATA[name].units
        seeds = [seed, 100 + list(PACKAGE_DATA).index(name)]
        broken: Sequence[str] = tuple(self.units) if fault is not None and fault.features else ()
        super().__init__(fault, seeds, broken[seed % len(broken)] if broken else "")

    def reference(self, max_rows: int) -> list[TrafficDay]:
        rows = min(self.volume, MAX_DAILY_REFERENCE_ROWS, max_rows / REFERENCE_DAYS)
        return [self.draw(number, rows / self.volume) for number in range(-REFERENCE_DAYS, 0)]

    def draw(self, number: int, thinned: float) -> TrafficDay:
        rng = np.random.default_rng([*self.seed, number + 10_000])
        rows = int(rng.poisson(self.volume * thinned))
        drawn = rng.integers(len(self.pool.score), size=rows)
        features = {name: values[drawn] for name, values in self.pool.features.items()}
        seconds = np.sort((rng.choice(HOURS, rows) + rng.random(rows)) * 3_600)
        return TrafficDay(number, seconds, features, self.pool.score[drawn], self.pool.labels[drawn])
