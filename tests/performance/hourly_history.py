"""Three years of hourly rows, imported as people do: `python -m tests.performance.hourly_history`.

Prints the time and the disk that they take, and how long questions over all of them last. A row has twenty features and
a label. The command imports the file, then one process does all that the workers would; CPU time is that of this
process and of the database server.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.performance.installation import services_with_django

DAYS = 3 * 365 + 1
NUMBERS, CATEGORIES = 16, 4
REFERENCE_DAYS = 60
QUESTIONS = (
    "metric=psi&feature=n00",
    "metric=drifted_features",
    "metric=roc_auc",
    "metric=missing_share&feature=n03",
)
GOALS = {"cpu_ms": 3.0, "megabytes": 300.0, "question_ms": 500.0}


def hourly_rows(hours: int, end: datetime, seed: int) -> pa.Table:
    """Draw a row an hour up to `end`; numbers go with the time of day and of the year, as weather does."""
    rng = np.random.default_rng(seed)
    times = np.datetime64(end.replace(tzinfo=None), "us") - np.arange(hours, 0, -1).astype("timedelta64[h]")
    clock = np.arange(hours)
    columns: dict[str, Any] = {}
    for place in range(NUMBERS):
        course = np.sin(2 * np.pi * (clock / 24 + place / 7)) + np.sin(
            2 * np.pi * (clock / 8_766 + place / 5)
        )
        columns[f"n{place:02}"] = (course + rng.normal(size=hours)).round(3)
    for place in range(CATEGORIES):
        columns[f"c{place}"] = [f"level {level}" for level in rng.integers(0, 3 + place * 4, hours)]
    probability = 1 / (1 + np.exp(-columns["n00"]))
    columns |= {
        "timestamp": pa.array(times, pa.timestamp("us", tz="UTC")),
        "probability": probability.round(6),
        "prediction": np.where(probability >= 0.5, "1", "0"),
        "label": np.where(rng.random(hours) < probability, "1", "0"),
    }
    return pa.table(columns)


def measure(days: int) -> dict[str, Any]:
    """Import so many days, have everything made of them and ask; returns milliseconds, seconds and megabytes."""
    with services_with_django() as (folder, database):
        return _measure(days, folder, database.pid or 0)


def _measure(days: int, folder: Path, database_pid: int) -> dict[str, Any]:
    from django.core.management import call_command
    from django.db import connection

    from driftline.base.accounts.models import User
    from driftline.base.accounts.services import create_project
    from driftline.base.periods import floor
    from inference.prediction_log.storage.compaction import find_unpacked, pack_next
    from inference.registry.services import create_model
    from monitors.metrics.rows.ended_days import read_days
    from monitors.metrics.services import measure as measure_windows
    from monitors.rules.defaults import add_default_rules
    from monitors.rules.judging.judge import judge
    from monitors.summaries.services import summarise
    from tests.performance.stored_history import clients_of

    owner = User.objects.create_user("owner@bench.example")
    project = create_project(slug="bench", name="Bench", owner=owner)
    model = create_model(
        project=project, name="hourly", task="binary", actor="bench", objectives={"label_lag_hours": 1},
        retention_days=days + 30,
    )  # fmt: skip
    end = floor(datetime.now(UTC), "day")
    _give_reference(model, end - timedelta(days=days))
    add_default_rules(project=project, model=model, actor="bench")
    path = folder / "hourly.parquet"
    rows = hourly_rows(24 * days, end, seed=1)
    pq.write_table(rows.append_column("id", [[f"hour-{number}" for number in range(rows.num_rows)]]), path)
    empty_mb = _megabytes()

    def pack() -> None:
        find_unpacked()
        while pack_next():
            pass

    steps: dict[str, Callable[[], object]] = {
        "import": lambda: call_command("import_predictions", str(path), model=model.name, verbosity=0),
        "summarise": lambda: _until_done(lambda: summarise(model.pk)),
        "measure and judge": lambda: _until_done(lambda: measure_windows(model.pk) or judge(model.pk)),
        "read ended days": lambda: _until_done(lambda: read_days(model.pk)),
        "measure and judge again": lambda: _until_done(lambda: measure_windows(model.pk) or judge(model.pk)),
        "pack": pack,
    }
    taken = {name: _cost(step, database_pid) for name, step in steps.items()}
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (FULL, ANALYZE)")
    _, api = clients_of(project, owner)
    ask = f"/api/v1/models/{model.name}/metrics?from=-{days + 1}d&limit=10000"
    questions = {
        f"{question} by the {step}": _answer_ms(
            lambda url=f"{ask}&{question}&step={step}": api.get(url),  # type: ignore[misc]
            database_pid,
        )
        for step in ("week", "month")
        for question in QUESTIONS
    }
    return {
        "days": days,
        "rows": rows.num_rows,
        "steps": taken,
        "cpu_ms": 1e3 * sum(step["cpu_s"] for step in taken.values()) / rows.num_rows,
        "wall_ms": 1e3 * sum(step["wall_s"] for step in taken.values()) / rows.num_rows,
        "megabytes": _megabytes() - empty_mb,
        "tables_mb": _largest_tables(),
        "questions_ms": questions,
    }


def _give_reference(model: Any, end: datetime) -> None:
    import io

    from inference.registry.files.datasets import store_reference
    from monitors.definitions.models import Reference
    from monitors.definitions.services import build_reference

    content = io.BytesIO()
    pq.write_table(hourly_rows(24 * REFERENCE_DAYS, end, seed=0), content)
    content.seek(0)
    store_reference(
        model=model, version="1", stream=content, content_type="application/vnd.apache.parquet", actor="bench"
    )
    build_reference(Reference.objects.get(model=model).pk)


def _until_done(step: Callable[[], object]) -> None:
    while step():
        pass


def _cost(step: Callable[[], object], database_pid: int) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time() + _tree_cpu_s(database_pid)
    step()
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() + _tree_cpu_s(database_pid) - cpu,
    }


def _tree_cpu_s(pid: int) -> float:
    """Add up the processor time of a process and of its children, those that have ended included."""
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if entry.parent.name == str(pid):
            ticks += sum(map(int, fields[11:15]))
        elif fields[1] == str(pid):
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _megabytes() -> float:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0]) / 1e6


def _largest_tables() -> dict[str, float]:
    """Return the megabytes of the five largest tables, with their indexes."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables ORDER BY 2 DESC LIMIT 5"
        )
        return {name: size / 1e6 for name, size in cursor.fetchall()}


def _answer_ms(ask: Callable[[], Any], database_pid: int) -> dict[str, list[float]]:
    """Ask three times, the first time of a new process: returns the milliseconds, and those of CPU.

    Raises AssertionError where the answer is none.
    """
    taken: dict[str, list[float]] = {"wall": [], "cpu": []}
    responses: list[Any] = []
    for _ in range(3):
        cost = _cost(lambda: responses.append(ask()), database_pid)
        taken["wall"].append(1e3 * cost["wall_s"])
        taken["cpu"].append(1e3 * cost["cpu_s"])
    for response in responses:
        if response.status_code != 200:
            raise AssertionError(f"{response.status_code} {response.content[:200]!r}")
    return taken


def show(results: dict[str, Any]) -> None:
    """Print the history's costs beside their goals."""
    print(
        f"\n{results['days']:,} days of an hourly row with {NUMBERS + CATEGORIES} features, {results['rows']:,} rows"
    )
    for name, step in results["steps"].items():
        per_row = 1e3 * step["cpu_s"] / results["rows"]
        print(
            f"  {name:26}{step['wall_s']:>9.1f} s{step['cpu_s']:>9.1f} s of CPU{per_row:>9.2f} ms of CPU a row"
        )
    print(
        f"  {'all':26}{results['wall_ms']:>9.2f} ms, {results['cpu_ms']:.2f} ms of CPU a row (goal: {GOALS['cpu_ms']})"
    )
    tables = ", ".join(f"{name} {size:.0f}" for name, size in results["tables_mb"].items())
    print(f"  {'disk':26}{results['megabytes']:>9.0f} MB (goal: {GOALS['megabytes']:.0f}): {tables}")
    for question, taken in results["questions_ms"].items():
        first, *later = taken["wall"]
        print(
            f"  {question:48}{first:>8.0f} ms at first, {min(later):.0f} ms then, "
            f"{min(taken['cpu'][1:]):.0f} ms of CPU (goal: {GOALS['question_ms']:.0f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.hourly_history")
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    options = parser.parse_args()
    results = measure(options.days)
    show(results)
    if options.json:
        options.json.write_text(json.dumps({"hourly_history": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
