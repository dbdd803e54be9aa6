"""What a fleet of models asks of one node: `python -m tests.performance.fleet_bench [--models 20 --features 10]`.

A thousand models of a hundred features, of which a fifth are categories, each with a reference of 2,000 rows, default
rules and 200 labelled rows an hour. A few of them live through a whole day: what a model-day weighs, and what a pass
over a model costs. Rows come over HTTP as Arrow bodies, labels as JSON, as they would come from other servers; the work
is that of the Celery tasks, called here one after another as one worker does. The other models are copies in the
database of the first: they have its reference, rules, points and daily summaries, and not its rows. Each of them serves
an ONNX file; some get an hour of rows, to which workers come for some; ticks and pages are measured over all. Processor
time is counted, not time, so that it may run beside other work; what the database's and the web server's processes took
meanwhile is counted too. A serving process with as many models is measured by itself (see `fleet_serving`).
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import django

from tests.performance.installation import installation, without_server


def show(results: dict[str, Any]) -> None:
    size = results["size"]
    print(
        f"\nfleet: {size['models']:,} models x {size['features']} features, {size['rows']} labelled rows a model-hour; "
        f"{size['day_models']} lived through a day"
    )
    for title, costs in results["costs"].items():
        print(
            f"\n  {title + ', ms of processor time a call':<52}{'calls':>8}{'worker':>10}{'database':>10}{'web':>8}"
        )
        for name, cost in costs.items():
            own, database, web = (cost[who] / cost["calls"] * 1e3 for who in ("own", "database", "web"))
            print(f"  {name:<52}{cost['calls']:>8,}{own:>10.1f}{database:>10.1f}{web:>8.1f}")
    for title in ("ticks", "messages", "pages", "serving", "memory", "disk", "rows"):
        if title not in results:
            continue
        print(f"\n  {title}{', least / median / most processor time' if title == 'ticks' else ''}")
        for name, told in results[title].items():
            print(f"  {name:<52}{told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--models", type=int, default=1_000)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--rows", type=int, default=200, help="a model-hour")
    parser.add_argument("--day-models", type=int, default=2, help="that live through a whole day")
    parser.add_argument(
        "--pass-hours", type=int, default=1, help="of rows that workers find at once on that day"
    )
    parser.add_argument("--busy", type=int, default=999, help="copies that get an hour of rows")
    parser.add_argument("--worked", type=int, default=10, help="copies whose hour of rows workers come to")
    parser.add_argument(
        "--only-create", action="store_true", help="no rows: what changes, ticks and pages cost then"
    )
    parser.add_argument(
        "--only-models", action="store_true", help="no web server: making models, and pages that list them"
    )
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="driftline-bench-") as folder,
        (without_server if options.only_models else installation)(Path(folder)) as installed,
    ):
        os.environ |= {
            "DRIFTLINE_HOME": str(installed.paths.home),
            "DRIFTLINE_DATABASE_URL": "",
            "DRIFTLINE_BROKER_URL": "",
        }
        os.environ["DJANGO_SETTINGS_MODULE"] = "driftline.settings"
        django.setup()
        from tests.performance import fleet  # it needs Django's models

        measure = fleet.measure_creating if options.only_create else fleet.measure
        measure = fleet.measure_models if options.only_models else measure
        results = measure(
            installed,
            fleet.Size(
                options.models,
                options.features,
                options.rows,
                options.day_models,
                options.pass_hours,
                min(options.busy, options.models - options.day_models),
                options.worked,
            ),
        )
    show(results)
    if options.json:
        options.json.write_text(json.dumps({"fleet": results}, indent=2))


if __name__ == "__main__":
    main()
