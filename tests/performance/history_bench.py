"""Questions about 90 days of hourly summaries: `python -m tests.performance.history_bench [--json PATH]`.

Two models of 30 features, one of 400 rows an hour and one of 4,000, all labelled, have 90 days of hourly and daily
summaries, made from arrays by the product's own functions, and every point of them, with the drift of each hour. The
pages and API handlers then answer in this process. Cold: PostgreSQL has just been started (its buffers are empty; the
operating system's page cache is not), the connection is new and the process holds no reference and no draws of it.
Times are wall time, and CPU time of the handler and of the database's process together; what was read are the blocks
that PostgreSQL asked the system for. Rounds are interleaved between the two models.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from tests.performance.installation import services_with_django

SIZES = (400, 4_000)


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def show(results: dict[str, Any]) -> None:
    print(f"\n{results['days']} days of 30 features; wall ms [least-most], CPU ms, MB read")
    print(f"{'':50}{'rows an hour':>13}{'cold':>24}{'CPU':>8}{'MB':>7}{'warm':>22}{'CPU':>8}  goal")
    for question in results["questions"]:
        for size, states in question["sizes"].items():
            cold, warm = (
                {name: spread([one[name] for one in states[state]]) for name in ("ms", "cpu_ms", "read_mb")}
                for state in ("cold", "warm")
            )
            goal = f"< {question['goal_ms']:,.0f} ms" if question["goal_ms"] else ""
            print(
                f"{question['what']:50}{int(size):>13,}{_range(cold['ms']):>24}{cold['cpu_ms']['median']:>8.0f}"
                f"{cold['read_mb']['median']:>7.1f}{_range(warm['ms']):>22}{warm['cpu_ms']['median']:>8.0f}  {goal}"
            )
    for one in results["measuring"]:
        print(
            f"all windows measured again, {one['rows_an_hour']:,} rows an hour: {one['cpu_s']:.1f} s of CPU, "
            f"{one['points']:,} points, {one['cpu_s'] / results['days'] * 1e3:.0f} ms a day with its hours"
        )
    weight = results["weight"]
    print(
        f"{weight['points']:,} points take {weight['bytes'] / 1e6:,.0f} MB with their indexes: in all "
        f"{weight['bytes'] / weight['feature_windows']:.0f} bytes a judged feature and window (goal <= 200)"
    )
    for path, size in results["first_page_kb"].items():
        print(f"first page {path}: {size:.0f} KB with its files, uncompressed, before Plotly (goal < 300 KB)")


def _range(one: dict[str, float]) -> str:
    return f"{one['median']:,.0f} [{one['min']:,.0f}-{one['max']:,.0f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with services_with_django() as (_, database):
        from tests.performance import stored_history  # it needs Django's models

        results = stored_history.measure(database, sizes=SIZES, days=options.days, rounds=options.rounds)
    show(results)
    if options.json:
        options.json.write_text(json.dumps({"history": results}, indent=2))


if __name__ == "__main__":
    main()
