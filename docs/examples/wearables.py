"""Wearables: summaries only, so that nobody's readings are stored, and drift is noticed all the same.

The model estimates from one minute of a wristband whether its wearer is under stress. It keeps no rows: each
one is dropped in the commit that adds it to the summaries of its hour. The device is hashed and the note is
dropped before that. A new firmware then reads the skin's temperature differently and loses the oxygen sensor
now and then. Readings are made up: no package ships real ones with times.

    python docs/examples/wearables.py      # against a Driftline that runs; see shared.py
"""

import numpy as np
import pandas as pd
from shared import DAY, TODAY, Driftline, days, frame, rows, rows_of, times

from driftline_client import ModelHandle

DAYS = 8
READINGS_A_DAY = 600
FIRMWARE_CAME = 3  # days ago
PRIVACY = {"device": "hash", "note": "drop"}
FEATURES = ["heart_rate", "hrv_ms", "steps", "skin_temp", "spo2", "device", "note"]


def readings(count: int, seed: int, *, new_firmware: bool = False) -> pd.DataFrame:
    """Make up minutes of 50 wristbands; 60 % of them get the new firmware."""
    rng = np.random.default_rng(seed)
    device = rng.integers(0, 50, count)
    is_new = new_firmware & (device < 30)
    stress = rng.random(count) < 0.2
    drawn = frame(
        heart_rate=rng.normal(68, 8, count) + 14 * stress,
        hrv_ms=np.maximum(5, rng.normal(55, 12, count) - 18 * stress),
        steps=rng.poisson(6, count).astype(float),
        skin_temp=rng.normal(33.2, 0.6, count) + 0.9 * is_new,
        spo2=np.where(is_new & (rng.random(count) < 0.3), np.nan, rng.normal(97, 1, count)),
    )
    drawn["device"] = [f"band-{number}" for number in device]
    drawn["note"] = [f"felt {'tense' if one else 'fine'} at work" for one in stress]
    odds = -6 + 0.11 * (drawn.heart_rate - 50) - 0.05 * (drawn.hrv_ms - 70)
    drawn["probability"] = (1 / (1 + np.exp(-odds))).round(4)
    return drawn.assign(prediction=(drawn.probability >= 0.5).astype(int))


def log(bands: ModelHandle) -> None:
    """Log each day's readings."""
    logged = []
    for ago in days(DAYS):
        count = rows_of(ago, READINGS_A_DAY)
        day = readings(count, seed=100 + ago, new_firmware=ago <= FIRMWARE_CAME)
        logged.append(day.assign(id=[f"{ago}-{n}" for n in range(count)], timestamp=times(ago, count)))
    bands.log_frame(
        pd.concat(logged, ignore_index=True), id="id", timestamp="timestamp", features=FEATURES,
        prediction="prediction", probabilities="probability",
    )  # fmt: skip


def main() -> None:
    driftline = Driftline()
    bands = driftline.create("example-wearables", "binary", rows_kept="none", privacy=PRIVACY)
    count = rows(7 * READINGS_A_DAY)
    training = readings(count, seed=2)
    when = [TODAY - 20 * DAY + 7 * DAY * (place / count) for place in range(count)]
    bands.reference(training.assign(timestamp=when), wait_s=300)
    driftline.watch(bands)
    log(bands)
    driftline.wait(bands)
    print(
        f"{DAYS} days of made-up readings, the last {FIRMWARE_CAME} with a new firmware: {driftline.page(bands)}"
    )
    report(driftline, bands)


def report(driftline: Driftline, bands: ModelHandle) -> None:
    """Print what Driftline found, and what it answers to who wants to see a reading."""
    path = f"/api/v1/models/{bands.name}"
    print("What was noticed from summaries alone:")
    for point in driftline.points(bands, "missing_share", feature="spo2")[-4:]:
        print(
            f"  {point['start'][:10]} oxygen readings missing: {point['value']:.1%}, limit {point['threshold']:.1%}"
        )
    driftline.print_drift(bands)
    driftline.print_incidents(bands)
    print("What is refused, because no reading is stored:")
    label = {"labels": [{"id": "1-0", "label": 1}]}
    for what, answer in (
        ("a look at a reading", driftline.http.get(f"{path}/predictions/1-0")),
        ("an export", driftline.http.get(f"{path}/export")),
        ("a label", driftline.http.post(f"{path}/labels", json=label)),
    ):
        print(f"  {what}: {answer.status_code} {answer.json()['code']}")
    measured = [item["feature"] for item in driftline.call("GET", f"/models/{bands.name}/drift")["items"]]
    print(
        f"What is measured: {', '.join(sorted(measured))}; the note, which is dropped: {'note' in measured}"
    )


if __name__ == "__main__":
    main()
