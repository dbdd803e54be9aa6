"""Who watches a model of few rows as well as one of many: `python -m tests.performance.volumes`.

Replays six worlds without a fault and seven faults in them at 5 to 50,000 rows a day over 120 days, with references of
20 to 400 days that have short days and gaps, through summaries, metrics and the default rules of the product. Prints

(a) false incidents per 1,000 quiet model-days, by world and volume;
(b) the share of faults that an incident opened for, the median of days to it, and the share of them where the cause
    was among the first two that it names;

and beside them what Evidently and NannyML open with their defaults on the same windows, of the first seeds alone.

Stopped with Ctrl-C it shows what it has by then.

    --quick                                     two seeds at 24 and 1,000 rows a day, without the rivals
    --fault mean --volumes 24 --seeds 100       one fault, of which it prints when it was noticed
    --world diamonds doctors "light chains"     rows of real tables that packages ship, instead of the worlds
"""

import argparse
import json
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.performance.volumes.package_data import PACKAGE_DATA
from tests.performance.volumes.streams import replay_all, streams_of
from tests.performance.volumes.tables import Result, show, show_fault
from tests.performance.volumes.worlds import DAYS, FAULTS, QUIET_WORLDS

VOLUMES = (5, 24, 100, 1_000, 50_000)
QUICK_VOLUMES, QUICK_SEEDS = (24, 1_000), 2
SAID_EVERY_S = 60.0


def measure(options: argparse.Namespace) -> list[Result]:
    volumes, seeds, rival_seeds = options.volumes, options.seeds, options.rival_seeds
    if options.quick:
        volumes, seeds, rival_seeds = QUICK_VOLUMES, QUICK_SEEDS, 0
    streams = streams_of(
        volumes=volumes, seeds=seeds, days=options.days, worlds=options.world, faults=options.fault,
        rival_seeds=0 if options.fault else rival_seeds,
    )  # fmt: skip
    results, began, said = [], time.monotonic(), 0.0
    with suppress(KeyboardInterrupt):
        for result in replay_all(streams, options.processes):
            results.append(result)
            elapsed = time.monotonic() - began
            if elapsed - said > SAID_EVERY_S:
                said = elapsed
                print(
                    f"{len(results)} of {len(streams)} streams after {elapsed:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
    print(f"{len(results)} of {len(streams)} streams in {time.monotonic() - began:.0f} s")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.performance.volumes", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="smoke, not numbers")
    parser.add_argument("--volumes", "--volume", type=int, nargs="+", default=VOLUMES, help="rows a day")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--fault", nargs="+", choices=[fault.name for fault in FAULTS], default=[])
    parser.add_argument(
        "--world", nargs="+", choices=[*(world.name for world in QUIET_WORLDS), *PACKAGE_DATA], default=[]
    )
    parser.add_argument("--rival-seeds", type=int, default=2, help="the rivals see so many of the seeds")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    options = parser.parse_args()
    results = measure(options)
    show(results)
    for fault in options.fault:
        show_fault(fault, [result for result in results if result["fault"] == fault])
    if options.json:
        options.json.write_text(json.dumps({"volumes": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
