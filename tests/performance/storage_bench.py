"""What a prediction weighs and how fast a day is read: `python -m tests.performance.storage_bench [--json PATH]`.

A million predictions of one day, 30 features of six decimals each, are logged in batches of 500 as the logging API
stores them, packed as the workers pack them, labelled one by one, and, after their narrow rows were dropped and their
labels folded, read into NumPy. Beside it the same rows lie in one plain wide table with a primary key and one more
index, read by binary COPY. Both are compared with what was sent. Sizes are those of the files, with indexes, after
VACUUM. Last, a month of summaries of one version (30 features, 4,000 labelled rows an hour) is weighed by the hour, the
day and the month.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from tests.performance.installation import services_with_django


def show(results: dict[str, Any]) -> None:
    weight, peer = results["bytes_a_row"], results["wide_bytes_a_row"]
    print(f"\nstorage: {results['rows']:,} rows x 30 features of one day, each with a label")
    for what, size in (
        ("chunk, packed, with the hashes of its ids", weight["packed"]),
        ("narrow row, inside the dedupe window", weight["narrow"]),
        ("label, inside the dedupe window", weight["label"]),
        ("label, folded into the chunk after it", weight["folded"]),
        ("all of it, inside the window", weight["inside"]),
        ("all of it, after the window", weight["after"]),
        ("wide table with a primary key and one index", peer),
    ):
        print(f"  {what:<45}{size:>8.1f} bytes a row")
    print(f"  space of the fresh partition, used again and again: {results['fresh_mb']:.1f} MB")
    for name, what in (("read_s", "frame of the day"), ("wide_read_s", "wide table")):
        spread = results[name]
        print(f"  {what:<45}{spread['median']:>8.2f} s [{spread['min']:.2f}-{spread['max']:.2f}]")
    print(
        f"  found by id in {results['lookup_ms']:.0f} ms, packed with {results['pack_us']:.1f} us of CPU a row"
    )
    print(
        f"  {results['read_cpu_s']:.2f} s of CPU to read the day; a label takes {results['label_us']['server']:.1f} us "
        f"of the server's and {results['label_us']['database']:.1f} of the database's to write, "
        f"{results['fold_us']:.1f} of a worker's to fold"
    )
    for span, size in results["summed_bytes_a_day"].items():
        what = f"summaries of 96,000 rows a day, by the {span}"
        print(f"  {what:<45}{size / 1e3:>8,.1f} kB a model-day")
    for name, cpu in results["batch_cpu_ms"].items():
        print(f"  a batch of 500, {name:<40}{cpu:>8.2f} ms of the database's CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with services_with_django():
        from tests.performance import stored_day, summed_month  # they need Django's models

        results = stored_day.measure(rows=options.rows, rounds=options.rounds)
        results["summed_bytes_a_day"] = summed_month.measure()
    show(results)
    if options.json:
        options.json.write_text(json.dumps({"storage": results}, indent=2))


if __name__ == "__main__":
    main()
