"""What `make bench` runs, one after another: `python -m tests.performance [--quick] [--peers]`.

Prints one table and writes `bench-results.json` at the top of the checkout. `--peers`, as `make bench-peers` says,
measures the products that are installed apart for it instead, and adds them to what the file holds. Each bench is a
process of its own that checks what its contenders answer; every ratio compares runs of one round on the same machine.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

QUIET = "quiet"
SHADOW_ON = "shadow on"
PEERS = {
    "fastapi": "FastAPI",
    "asgi": "raw ASGI",
    "triton": "Triton (Python)",  # its Python backend: see peers_bench
    "torchserve": "TorchServe",
    "mlserver": "MLServer",
    "litserve": "LitServe",
}
SERVING_GOALS = {  # by connections, workers, peer and number
    (32, 1, "fastapi", "requests_per_s"): ">= 5x",
    (32, 1, "asgi", "requests_per_s"): ">= 1.8x",
    (1, 1, "fastapi", "p50_ms"): ">= 1.43x",
}
INSTALLED_GOALS = {  # by kind of load and number; of times, how often ours goes into the other's
    "closed 32": {"rate": ">= 3x", "p99_ms": ">= 1x"},
    "closed 1": {"p50_ms": ">= 1.43x", "p99_ms": ">= 0.5x"},
    "open": {"p99_ms": ">= 0.67x"},
    "watched 32": {"rate": ""},
    "watched 1": {"rate": ""},
}
UNITS = {
    "requests_per_s": "requests/s",
    "server_cpu_us": "server CPU us",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
}
CHECKOUT = Path(__file__).resolve().parents[2]
RESULTS = CHECKOUT / "bench-results.json"


@dataclass(frozen=True)
class Bench:
    """A module that measures and writes its numbers under `name`; `quick` are its options for a smoke run."""

    name: str
    quick: tuple[str, ...]


BENCHES = (
    Bench("installed", ("--rounds", "1", "--seconds", "2")),
    Bench("serving", ("--workers", "1", "--connections", "32", "--rounds", "1", "--seconds", "0.5")),
    Bench("isolation", ("--rounds", "1", "--seconds", "0.5")),
    Bench("arrivals", ("--rounds", "1", "--seconds", "0.5")),
    Bench("logging", ("--rounds", "1", "--batches", "8")),
    Bench("storage", ("--rounds", "1", "--rows", "20000")),
    Bench("drift", ("--rounds", "1", "--evidently-rounds", "1")),
    Bench("summary", ("--rounds", "1", "--rows", "50000")),
    Bench("history", ("--rounds", "1", "--days", "2")),
    Bench("growing_hour", ("--repeats", "3", "--sizes", "100", "1000")),
)
PRODUCTS = Bench("peers", ("--rounds", "1", "--seconds", "0.5"))


@dataclass(frozen=True)
class Line:
    """One comparison: a larger `ratio` is better for us."""

    what: str
    unit: str
    ours: dict[str, float]
    peer_name: str
    peer: dict[str, float]
    ratio: dict[str, float]
    goal: str


# -- running -----------------------------------------------------------------------------------------------------------
def run(bench: Bench, *, quick: bool) -> Any:
    """Run one bench; its own tables go to the terminal as they come."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "numbers.json"
        module = f"tests.performance.{bench.name}_bench"
        command = [sys.executable, "-m", module, "--json", str(path), *(bench.quick if quick else ())]
        subprocess.run(command, cwd=CHECKOUT, check=True)
        return json.loads(path.read_text())[bench.name]


def machine() -> dict[str, Any]:
    """Say where and beside how much other work the numbers were measured."""
    return {
        "processors": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


# -- one table ---------------------------------------------------------------------------------------------------------
def lines(results: dict[str, Any]) -> Iterator[Line]:
    """Read every comparison out of the benches' numbers."""
    yield from _installed_lines(results["installed"])
    yield from _serving_lines(results["serving"])
    yield from _isolation_lines(results["isolation"])
    yield from _arrival_lines(results["arrivals"])
    yield from _logging_lines(results["logging"])
    yield from _storage_lines(results["storage"])
    yield from _drift_lines(results["drift"])
    yield from _summary_lines(results["summary"])
    yield from _history_lines(results["history"])
    yield from _growing_hour_lines(results["growing_hour"])


def product_lines(peers: dict[str, Any]) -> Iterator[Line]:
    """Read the comparisons with products out of their bench's numbers."""
    for name, measured in peers["measured"].items():
        for setting in measured["settings"]:
            number = "requests_per_s" if setting["connections"] > 1 else "p50_ms"
            goal = ">= 2.5x" if (name, number) == ("triton", "requests_per_s") else ""
            yield Line(
                f"V2 JSON, {setting['connections']} connection(s), 1 worker(s)",
                UNITS[number],
                setting["contenders"]["driftline"][number],
                PEERS[name],
                setting["contenders"][name][number],
                setting["ratios"][name][number],
                goal,
            )


def _installed_lines(settings: list[dict[str, Any]]) -> Iterator[Line]:
    """Say how all that is installed, running together, answers beside a server that logs nothing."""
    for setting in settings:
        ours, theirs, ratios = setting["ours"], setting["peer"], setting["ratios"]
        what, goals = f"all installed, {setting['title']}", INSTALLED_GOALS[setting["kind"]]
        if "rate" in goals:
            yield Line(
                what, UNITS["requests_per_s"], ours["requests_per_s"], PEERS["fastapi"], theirs["requests_per_s"],
                ratios["rate"], goals["rate"],
            )  # fmt: skip
        for number in ("p50_ms", "p99_ms"):
            goal, ratio = goals.get(number, ""), _inverse(ratios[number])
            yield Line(what, UNITS[number], ours[number], PEERS["fastapi"], theirs[number], ratio, goal)


def _serving_lines(parts: dict[str, Any]) -> Iterator[Line]:
    for setting in parts["throughput"]:
        ours = setting["contenders"]["driftline"]
        what = f"V2 JSON, {setting['connections']} connection(s), {setting['workers']} worker(s)"
        for peer, ratio in setting["ratios"].items():
            theirs = setting["contenders"][peer]
            for number in ("requests_per_s", "server_cpu_us") if setting["connections"] > 1 else ("p50_ms",):
                goal = SERVING_GOALS.get((setting["connections"], setting["workers"], peer, number), "")
                yield Line(
                    what, UNITS[number], ours[number], PEERS[peer], theirs[number], ratio[number], goal
                )
    for setting in parts["fsync"]:
        yield from _log_lines(setting)
    for result in parts["shadow"]:
        alone, shadowed = result["states"]["no shadow"], result["states"]["shadow"]
        what = f"champion with a shadow of its cost, {result['place']}{_lost(shadowed)}"
        what += _dropped(result["counts"])
        ratio = _inverse(result["ratios"]["p99"])
        yield Line(what, "p99 ms", shadowed["p99_ms"], "no shadow", alone["p99_ms"], ratio, "")


def _log_lines(setting: dict[str, Any]) -> Iterator[Line]:
    """Say what the log costs as a whole: the same server, with and without it."""
    logged, unlogged = (setting["contenders"][name] for name in ("interval (default)", "no log"))
    ratios = setting["ratios"]["no log"]
    for number in ("requests_per_s", "server_cpu_us") if setting["connections"] > 1 else ("p50_ms",):
        cost = 1 - ratios[number]["median"]
        what = f"the log and its sync, {setting['connections']} connection(s): costs {cost:.0%}"
        yield Line(what, UNITS[number], logged[number], "no log", unlogged[number], ratios[number], "")


def _isolation_lines(measured: dict[str, Any]) -> Iterator[Line]:
    """Say what a process of its own costs a model's requests: the same server, with and without it."""
    for setting in measured["settings"]:
        isolated, inside = (setting["contenders"][name] for name in ("process", "none"))
        for number in ("server_cpu_us", "p50_ms"):
            cost_us = setting["cost_us"][number]["median"]
            what = f"isolation: process, {setting['connections']} connection(s): costs {cost_us:.0f} us a request"
            ratio = setting["ratios"]["none"][number]
            yield Line(what, UNITS[number], isolated[number], "none", inside[number], ratio, "")


def _arrival_lines(arrivals: dict[str, Any]) -> Iterator[Line]:
    for row in arrivals["rows"]:
        rate = f"{row['share']:.0%} of capacity"
        if row["server"] == "driftline" and row["state"] != QUIET:
            quiet = _find(arrivals, server="driftline", share=row["share"], state=QUIET, of=row["of"])
            what = f"open loop at {rate}, {row['state']}{_lost(row)}"
            if row["state"] == SHADOW_ON:
                what += _dropped(arrivals["shadow_counts"])
            ratio = _inverse(row["p99_to_quiet"])
            yield Line(what, "p99 ms", row["p99_ms"], "quiet", quiet["p99_ms"], ratio, ">= 0.67x")
        elif row["server"] == "fastapi":
            ours = _find(arrivals, server="driftline", share=row["share"], state=QUIET, of=row["of"])
            what = f"open loop at {rate} of {row['of']}, quiet{_lost(ours)}"
            yield Line(what, "p99 ms", ours["p99_ms"], "FastAPI", row["p99_ms"], row["p99_to_ours"], ">= 1x")


def _lost(row: dict[str, Any]) -> str:
    """Say what was not answered: it must not hide behind a good quantile."""
    if not row["refused"] and not row["unanswered"]:
        return ""
    return f" ({row['refused']} refused, {row['unanswered']} unanswered)"


def _dropped(counts: dict[str, int]) -> str:
    """Say which batches the shadow was not given: a champion without its shadow is no measurement of it."""
    return f" ({counts['dropped_batches']} shadow batches dropped)" if counts["dropped_batches"] else ""


def _find(arrivals: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    return next(row for row in arrivals["rows"] if all(row[key] == value for key, value in wanted.items()))


def _inverse(ratio: dict[str, float]) -> dict[str, float]:
    return {"median": 1 / ratio["median"], "min": 1 / ratio["max"], "max": 1 / ratio["min"]}


def _logging_lines(settings: list[dict[str, Any]]) -> Iterator[Line]:
    for setting in settings:
        rates = setting["rows_per_s"]
        what = f"logging API, batches of {setting['rows_a_batch']}, {setting['connections']} connection(s)"
        yield Line(
            what, "rows/s", rates["driftline"], "bare COPY", rates["copy"], setting["ratio"], ">= 0.25x"
        )


def _storage_lines(stored: dict[str, Any]) -> Iterator[Line]:
    weight, wide = stored["bytes_a_row"], stored["wide_bytes_a_row"]
    for what, ours in (
        ("inside the dedupe window", weight["inside"]),
        ("after it", weight["after"]),
    ):
        goal = "<= 200 bytes" if what == "after it" else ""
        yield Line(
            f"log of 30 features and a label on disk, {what}", "bytes a row", _once(ours), "wide table", _once(wide),
            _once(wide / ours), goal,
        )  # fmt: skip
    summed = stored["summed_bytes_a_day"]
    for span in ("day", "month"):
        yield Line(
            f"summaries of 30 features x 96,000 rows a day, by the {span}", "bytes a model-day", _once(summed[span]),
            "by the hour", _once(summed["hour"]), _once(summed["hour"] / summed[span]), "",
        )  # fmt: skip
    yield Line(
        f"a day's {stored['rows']:,} rows x 30 features into NumPy",
        "s",
        stored["read_s"],
        "wide table",
        stored["wide_read_s"],
        stored["read_ratio"],
        "",
    )


def _once(value: float) -> dict[str, float]:
    return {"median": value, "min": value, "max": value}


def _drift_lines(cases: dict[str, Any]) -> Iterator[Line]:
    names = {"evidently": "Evidently", "plain": "NumPy + SciPy"}
    for case, numbers in cases.items():
        for peer, ratio in numbers["ratios"].items():
            yield Line(
                f"a day of 100,000 rows, {case.replace('_', ' ')}",
                "ms",
                numbers["ms"]["ours"],
                names[peer],
                numbers["ms"][peer],
                ratio,
                ">= 50x" if peer == "evidently" else "",
            )


def _summary_lines(measured: dict[str, Any]) -> Iterator[Line]:
    what = f"summarise {measured['rows']:,} rows x 30 numbers, counts and sums"
    for name, peer, goal in (("sum", "one np.sum", ">= 0.067x"), ("histogram", "np.histogram, 10 bins", "")):
        ms = measured["ms"]
        yield Line(what, "CPU ms", ms["ours"], peer, ms[name], measured["ratios"][name], goal)


def _history_lines(measured: dict[str, Any]) -> Iterator[Line]:
    """Compare the model of more rows with the one of fewer: a chart's time must not know them apart."""
    for question in measured["questions"]:
        (few, of_few), (many, of_many) = question["sizes"].items()
        goal = f"< {question['goal_ms']:,.0f} ms" if question["goal_ms"] else ""
        for state in ("cold", "warm"):
            fewer, more = ([one["ms"] for one in asked[state]] for asked in (of_few, of_many))
            what = f"{question['what']}, {measured['days']} days of {int(many):,} rows an hour, {state}"
            if state == "cold":
                what += f", {statistics.median(one['read_mb'] for one in of_many[state]):.1f} MB read"
            ratios = [less / own for less, own in zip(fewer, more, strict=True)]
            yield Line(
                what, "ms", _spread(more), f"{few} rows an hour", _spread(fewer), _spread(ratios), goal
            )
    for path, size in measured["first_page_kb"].items():
        page = "overview" if path == "/" else "a model's page"
        yield Line(f"first page with its files, {page}", "kB", _once(size), "goal", _once(300), _once(300 / size),
                   "< 300 kB")  # fmt: skip


def _growing_hour_lines(measured: list[dict[str, Any]]) -> Iterator[Line]:
    """Compare one more prediction in each larger hour with the one in the smallest."""
    smallest = measured[0]
    for size in measured[1:]:
        few, many = smallest["one_more_ms"], size["one_more_ms"]
        what = f"summarise and measure one more prediction in an hour of {size['rows']:,}"
        yield Line(
            what, "CPU ms", _once(many), f"of {smallest['rows']:,}", _once(few), _once(few / many), ">= 0.83x"
        )


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def show(rows: list[Line]) -> None:
    """Print medians with their spreads; a ratio above 1 means that ours is better."""
    print(f"\n{'what':80}{'ours':>28}  {'peer':18}{'':>28}{'ratio':>22}  goal")
    for row in rows:
        print(
            f"{f'{row.what} ({row.unit})':80}{_number(row.ours):>28}  {row.peer_name:18}{_number(row.peer):>28}"
            f"{_number(row.ratio):>22}  {row.goal}"
        )


def _number(spread: dict[str, float]) -> str:
    digits = 0 if spread["median"] >= 100 else 1 if spread["median"] >= 10 else 2
    return f"{spread['median']:,.{digits}f} [{spread['min']:,.{digits}f}-{spread['max']:,.{digits}f}]"


def bench_all(*, quick: bool) -> None:
    """Run every bench of ours and write the results anew."""
    results: dict[str, Any] = {"machine": machine(), "quick": quick}
    began = time.monotonic()
    for bench in BENCHES:
        results[bench.name] = run(bench, quick=quick)
    results["machine"]["load_average_after"] = round(os.getloadavg()[0], 2)
    results["seconds"] = round(time.monotonic() - began)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    show(list(lines(results)))
    print(f"\nWritten to {RESULTS.name}; load average {results['machine']['load_average']} before.")


def bench_products(*, quick: bool) -> None:
    """Run the bench of the products and add it to the results that are there."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    where = machine()
    results["peers"] = {"machine": where, "quick": quick, **run(PRODUCTS, quick=quick)}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    show(list(product_lines(results["peers"])))
    for name, reason in results["peers"]["left_out"].items():
        print(f"{name} is left out: {reason}")
    print(f"\nAdded to {RESULTS.name}; load average {where['load_average']} before.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.performance", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of each: smoke, not numbers")
    parser.add_argument("--peers", action="store_true", help="measure the products that are installed apart")
    options = parser.parse_args()
    (bench_products if options.peers else bench_all)(quick=options.quick)


if __name__ == "__main__":
    main()
