"""What a scrape of `/metrics/models` costs: `python -m tests.performance.model_metrics_bench [--models 20]`.

A thousand models of a hundred features, with default rules and the points of one that lived through three days, of
which the others are copies in the database. The page and the database alone are measured, by Django's test client,
without a web server. Processor time of this process and of the database's is counted beside wall time, so that it may
run beside other work.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import django

from tests.performance.installation import without_server

SCRAPES = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1_000)
    parser.add_argument("--features", type=int, default=100)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="driftline-bench-") as folder,
        without_server(Path(folder)) as installed,
    ):
        os.environ |= {
            "DRIFTLINE_HOME": str(installed.paths.home),
            "DRIFTLINE_DATABASE_URL": "",
            "DRIFTLINE_BROKER_URL": "",
            "DJANGO_SETTINGS_MODULE": "driftline.settings",
        }
        django.setup()
        from django.test import Client

        from tests.performance import fleet  # it needs Django's models

        fleet.make_copies_of_one(fleet.Size(options.models, options.features, 200, 1, 1, 0, 0))
        meter, took = fleet.Meter(installed), []
        client = Client(HTTP_HOST="localhost")
        page = client.get("/metrics/models").content  # the first one compiles and connects
        for _ in range(SCRAPES):
            began = time.perf_counter()
            with meter.of("a scrape"):
                page = client.get("/metrics/models").content
            took.append(time.perf_counter() - began)
        cost = meter.costs["a scrape"]
        print(
            f"{options.models:,} models x {options.features} features: {len(page) / 1e6:.1f} MB, "
            f"{page.count(b'\n'):,} lines; a scrape takes {min(took):.2f} s at least, {median(took):.2f} s in the "
            f"median, with {cost.own / cost.calls:.2f} s of processor time here and "
            f"{cost.database / cost.calls:.2f} s in the database"
        )


if __name__ == "__main__":
    main()
