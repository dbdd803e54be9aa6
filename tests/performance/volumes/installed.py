"""What a whole installation notices of faults in strangers' data.

`python -m tests.performance.volumes.installed --volume 30`, rows a day. A model for each fault in each table of
`package_data.py`, and one for each table without a fault, are made over HTTP as people make them: model, default rules
before the first row, a reference of 30 days, then days of rows with labels two days later. Models with a fault get two
weeks without it and two with it, the others 60 days. Printed are the faults that an incident noticed, after how many
days, in how many cases it names the feature, how many incidents a fault had, and what was opened on days without one.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np

from driftline.base.periods import rfc3339
from driftline.demo.api_client import Api
from tests.flows.installation.running import Installation
from tests.performance.peer_servers import Environment
from tests.performance.volumes.notices import NoticedProblem, names_feature, noticed
from tests.performance.volumes.package_data import ENVIRONMENT, PACKAGE_DATA, PackagedTraffic
from tests.performance.volumes.worlds import BROKEN_FROM, FAULTS, LABEL_DAYS, TrafficDay, VolumeFault
from tests.ports import free_port
from tests.waiting import wait_until

BEFORE, AFTER, QUIET_DAYS = 14, 14, BROKEN_FROM
MAX_REFERENCE_ROWS = 20_000
ROWS_A_REQUEST = 1_000


@dataclass
class WatchedModel:
    """One model of the installation, and the days that it gets."""

    traffic: PackagedTraffic
    name: str

    @property
    def fault(self) -> VolumeFault | None:
        return self.traffic.fault

    @property
    def days(self) -> range:
        return range(BROKEN_FROM - BEFORE, BROKEN_FROM + AFTER) if self.fault else range(QUIET_DAYS)

    @property
    def path(self) -> str:
        return f"/api/v1/models/{self.name}"

    def make(self, api: Api, objectives: dict[str, Any], reference: Sequence[TrafficDay]) -> None:
        api.post("/api/v1/models", {"name": self.name, "task": "binary", "objectives": objectives})
        api.post("/api/v1/rules/defaults", {"model": self.name})
        api.call(
            "PUT",
            f"{self.path}/reference?version=1",
            csv_of(reference).encode(),
            {"Content-Type": "text/csv"},
        )

    def log(self, api: Api, day: TrafficDay) -> None:
        for rows in batched(rows_of(day), ROWS_A_REQUEST):
            answer = api.post(f"{self.path}/predictions", {"predictions": rows})
            if answer["rejected"]:
                raise RuntimeError(f"{self.name} did not take all rows of day {day.number}: {answer}")

    def label(self, api: Api, day: TrafficDay) -> None:
        labels = [
            {"id": id_of(day, place), "label": str(int(label)), "timestamp": moment(day, place, LABEL_DAYS)}
            for place, label in enumerate(day.labels)
            if day.labels_come
        ]
        for some in batched(labels, ROWS_A_REQUEST):
            api.post(f"{self.path}/labels", {"labels": some})


def id_of(day: TrafficDay, place: int) -> str:
    return f"{day.number}-{place}"


def moment(day: TrafficDay, place: int, days_later: int = 0) -> str:
    from tests.performance.volumes.replay import first_day

    return rfc3339(first_day() + timedelta(days=day.number + days_later, seconds=float(day.seconds[place])))


def rows_of(day: TrafficDay) -> list[dict[str, Any]]:
    """Write a day's rows as the API takes them."""
    features = {name: values.tolist() for name, values in day.features.items()}
    return [
        {
            "id": id_of(day, place),
            "timestamp": moment(day, place),
            "version": "1",
            "features": {name: known(values[place]) for name, values in features.items()},
            "prediction": str(int(score >= 0.5)),
            "probabilities": score,
            "latency_ms": 2.0,
        }
        for place, score in enumerate(day.score.tolist())
    ]


def known(value: object) -> object:
    return None if isinstance(value, float) and np.isnan(value) else value


def csv_of(days: Sequence[TrafficDay]) -> str:
    import pandas as pd

    tables = [
        pd.DataFrame(
            day.features
            | {
                "probability": day.score,
                "prediction": (day.score >= 0.5).astype(int),
                "label": day.labels.astype(int),
                "timestamp": [moment(day, place) for place in range(len(day))],
            }
        )
        for day in days
        if len(day)
    ]
    return str(pd.concat(tables).to_csv(index=False))


def models_of(volume: int, seed: int) -> list[WatchedModel]:
    made = []
    for place, table in enumerate(PACKAGE_DATA):
        for fault in (None, *FAULTS):
            kind = fault.name.replace(" ", "-") if fault else "quiet"
            name = f"{table.replace(' ', '-')}-{kind}"
            made.append(WatchedModel(PackagedTraffic(table, fault, volume, seed + place), name))
    return made


def watch(installation: Installation, models: Sequence[WatchedModel]) -> None:
    """Send everything day by day, as time would bring it, and wait until all of it is judged."""
    from tests.performance.volumes.replay import objectives_of

    with closing(installation.api()) as api:
        usual = {}
        for model in models:
            reference = model.traffic.reference(MAX_REFERENCE_ROWS)
            usual[model.name] = model.traffic.usual(reference)
            model.make(api, objectives_of(model.traffic), reference)
        sent: dict[str, dict[int, TrafficDay]] = {model.name: {} for model in models}
        for number in range(BROKEN_FROM + AFTER):
            for model in models:
                if number in model.days:
                    sent[model.name][number] = model.traffic.day(number, usual[model.name])
                    model.log(api, sent[model.name][number])
                if (ripe := sent[model.name].pop(number - LABEL_DAYS, None)) is not None:
                    model.label(api, ripe)
            if number % 7 == 6:
                wait_until_judged(installation)
    wait_until_judged(installation)
    time.sleep(30)  # what is judged by the minute


def wait_until_judged(installation: Installation) -> None:
    """Wait until all that was sent is summarised and measured; its rows are stored once they are acknowledged."""
    due = (
        "SELECT (SELECT count(*) FROM inference_touchedperiod) + (SELECT count(*) FROM monitors_stalewindow)"
    )
    wait_until(lambda: installation.query(due)[0][0] == 0, seconds=600, what="the metrics")


def connect_to_its_database(installation: Installation) -> None:
    """Connect this process to the installation's database."""
    import django

    os.environ |= {"DRIFTLINE_HOME": str(installation.home), "DJANGO_SETTINGS_MODULE": "driftline.settings"}
    django.setup()


def incidents_of() -> dict[str, list[NoticedProblem]]:
    """Read the incidents of each model."""
    from django.db import connection

    from monitors.alerts.models import Incident
    from tests.performance.volumes.replay import first_day, problem_of

    found: dict[str, list[NoticedProblem]] = {}
    for one in Incident.objects.select_related("model", "lead__rule", "lead__model").order_by("pk"):
        found.setdefault(one.model.name, []).append(problem_of(one, first_day()))
    connection.close()
    return found


def table_of(models: Sequence[WatchedModel], found: dict[str, list[NoticedProblem]]) -> Iterator[str]:
    yield f"{'fault':20}{'noticed':>10}{'days':>7}{'cause':>8}{'incidents':>11}  of each table"
    for fault in FAULTS:
        of_fault = [model for model in models if model.fault is fault]
        about = [noticed(fault, found.get(model.name, [])) for model in of_fault]
        days = [one[0].day - BROKEN_FROM for one in about if one]
        named = sum(
            names_feature(m.traffic.feature, one) for m, one in zip(of_fault, about, strict=True) if one
        )
        since = [sum(one.day > BROKEN_FROM for one in found.get(model.name, [])) for model in of_fault]
        late = f"{statistics.median(days):.0f}" if days else "-"
        yield (
            f"{fault.name:20}{f'{len(days)} of {len(of_fault)}':>10}{late:>7}{named:>8}"
            f"  {since}  {[[one.rule for one in each] for each in about]}"
        )
    quiet = [model for model in models if model.fault is None]
    false = [
        f"{model.name}, day {one.day:.1f}: {one.rule} ({', '.join(one.causes)})"
        for model in models
        for one in found.get(model.name, [])
        if model.fault is None or one.day <= BROKEN_FROM
    ]
    clean = len(quiet) * QUIET_DAYS + (len(models) - len(quiet)) * BEFORE
    yield f"false incidents: {len(false)} in {clean:,} days without a fault"
    yield from (f"  {one}" for one in false)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--volume", type=int, default=30, help="rows a day")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    Environment(ENVIRONMENT).install(ENVIRONMENT)
    began, models = time.monotonic(), models_of(options.volume, options.seed)
    with tempfile.TemporaryDirectory(prefix="driftline-bench-") as folder:
        installation = Installation(Path(folder) / "home", free_port())
        installation.start()
        try:
            connect_to_its_database(installation)
            watch(installation, models)
            found = incidents_of()
        finally:
            installation.end()
    print(f"-- {options.volume:,} rows a day: {len(models)} models, {time.monotonic() - began:.0f} s --")
    print("\n".join(table_of(models, found)))


if __name__ == "__main__":
    main()
