"""What 20 custom metrics add to summarising: `python -m tests.performance.custom_metrics_bench [--json PATH]`.

Two models get the same days of labelled rows with 28 numbers and 2 categories; one of them has 20 custom metrics, of
which half read text or labels. Each day is summarised by the function that a worker calls, the models in turn: CPU time
of this process, and of it the part that computes summaries from rows in memory. The sums are compared with NumPy's.
"""

import argparse
import json
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tests.performance.installation import services_with_django

DAY = datetime(2026, 1, 5, tzinfo=UTC)
NUMBERS = [f"n{place:02}" for place in range(28)]
BATCH = 10_000
EXPRESSIONS = [
    "mean(n00)",
    "sum(n01 * n02)",
    "mean(n03 / n04) where n05 > 0",
    "share(n06 > n07)",
    "count() where n08 > 1 and n09 < 0",
    "min(n10)",
    "max(n11) where n12 > 0",
    "ratio(n13, abs(n14) + 1)",
    "quantile(n15, 0.95)",
    "mean(if(n16 > 0, n17, -n17))",
    'mean(n00) where region == "north"',
    'share(plan == "pro" or region != "south")',
    'sum(n01) where plan == "free" and n02 > 0',
    'count() where plan is missing or region == "west"',
    "mean(probability * n03)",
    "cost(fp=5, fn=100, tn=-1)",
    "sum(cost(fp=5, fn=100)) where region == 'north'",
    "share(label == prediction)",
    "mean(abs(n18)) where label_positive",
    "mean(latency_ms) where predicted_positive",
]


def measure(rows: int, rounds: int) -> dict[str, Any]:
    from driftline.base.accounts.models import Project
    from inference.registry.services import create_model
    from monitors.definitions.custom_metrics.services import define_metric
    from monitors.summaries.services import summarise

    project = Project.objects.create(slug="bench", name="Bench")
    models = {
        name: create_model(project=project, name=name, task="binary", actor="bench")
        for name in ("plain", "custom")
    }
    whole: dict[str, list[float]] = {name: [] for name in models}
    in_memory: dict[str, list[float]] = {name: [] for name in models}
    for number in range(rounds + 1):
        for name, model in models.items():
            table = _log_day(model, DAY + timedelta(days=number), rows)
            began = time.process_time()
            while summarise(model.pk):
                pass
            spent = time.process_time() - began
            if number:  # the first day has no custom metrics: it makes the features known
                whole[name].append(spent)
                in_memory[name].append(_cpu_in_memory(model, DAY + timedelta(days=number)))
            if number == rounds and name == "custom":
                _check(model, DAY + timedelta(days=number), table)
        if not number:
            for place, expression in enumerate(EXPRESSIONS):
                define_metric(model=models["custom"], name=f"m{place}", expression=expression, actor="bench")
            while summarise(models["custom"].pk):
                pass
    return {
        "rows": rows,
        "metrics": len(EXPRESSIONS),
        "whole_s": {name: statistics.median(values) for name, values in whole.items()},
        "in_memory_s": {name: statistics.median(values) for name, values in in_memory.items()},
        "whole_added": _added(whole),
        "in_memory_added": _added(in_memory),
    }


def _added(seconds: dict[str, list[float]]) -> list[float]:
    """Return by which share the custom metrics made each round longer."""
    return [own / plain - 1 for own, plain in zip(seconds["custom"], seconds["plain"], strict=True)]


def _log_day(model: Any, day: datetime, rows: int) -> dict[str, Any]:
    """Log the rows of a day with their labels, and return the columns that are checked."""
    from driftline.base.periods import rfc3339
    from inference.prediction_log.ingest.store import log_predictions
    from inference.prediction_log.items import LabelItem
    from inference.prediction_log.labels.services import log_labels
    from inference.prediction_log.rows.sent_columns import PredictionBatch, columns_of
    from inference.prediction_log.rows.sent_items import SentPrediction

    rng = np.random.default_rng(day.toordinal())
    numbers = rng.normal(size=(rows, len(NUMBERS))).astype(np.float32).astype(np.float64)
    region = rng.choice(["north", "south", "west"], rows)
    plan = rng.choice(np.array(["free", "pro", None], object), rows)
    score, truth = rng.random(rows), rng.random(rows)
    for first in range(0, rows, BATCH):
        places = range(first, min(first + BATCH, rows))
        sent = [
            SentPrediction(
                id=f"{day:%d}-{place}", timestamp=rfc3339(day + timedelta(days=1) * (place / rows)), version="1",
                features=dict(zip(NUMBERS, numbers[place].tolist(), strict=True))
                | {"region": str(region[place]), "plan": plan[place]},
                prediction="1" if score[place] > 0.5 else "0", probabilities=float(score[place]), latency_ms=2.0,
            )
            for place in places
        ]  # fmt: skip
        now = day + timedelta(days=2)
        log_predictions(model=model, batch=PredictionBatch(columns_of(sent, task=model.task)), now=now)
        labels = [
            LabelItem(id=one.id, label=str(int(truth[place] < score[place])), timestamp=now)
            for place, one in zip(places, sent, strict=True)
        ]
        log_labels(model=model, items=labels, source="bench", now=now)
    return {"n00": numbers[:, 0], "region": region, "score": score, "truth": truth}


def _cpu_in_memory(model: Any, day: datetime) -> float:
    """Measure what summarising the rows of a day takes once they are in memory."""
    from inference.prediction_log.queries.selectors import frame_of
    from monitors.summaries.from_rows import RowDefinitions, RowsOfVersion, rows_by_hour

    source = RowsOfVersion(
        model, model.versions.select_related("model").get(), "champion", RowDefinitions.of(model)
    )
    frame = frame_of(model=model, start=day, end=day + timedelta(days=1), as_summarised=True)
    began = time.process_time()
    rows_by_hour(source, frame, {})
    return time.process_time() - began


def _check(model: Any, day: datetime, table: dict[str, Any]) -> None:
    """Compare two of the sums with NumPy's; raises AssertionError."""
    from monitors.stats.mergeable.window_summary import WindowSummary
    from monitors.summaries.models import Summary

    stored = Summary.objects.get(model=model, span="day", start=day, segment="", role="champion")
    sums = WindowSummary.decode(bytes(stored.payload)).custom
    by_name = {custom.name: sums[custom.key] for custom in model.custom_metrics.all()}
    predicted, actual = table["score"] > 0.5, table["truth"] < table["score"]
    cost = np.where(predicted, np.where(actual, 0, 5), np.where(actual, 100, -1)).sum()
    expected = {"m10": table["n00"][table["region"] == "north"].sum(), "m15": cost}
    for name, total in expected.items():
        if not np.isclose(by_name[name].values.total, total, rtol=1e-9):
            raise AssertionError(f"{name} sums to {by_name[name].values.total}, and not {total}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with services_with_django():
        results = measure(options.rows, options.rounds)
    print(
        f"\n{results['metrics']} custom metrics, {results['rows']:,} rows a day x 30 features, processor time"
    )
    for what, title in (("whole", "read, summarised and stored"), ("in_memory", "summarised in memory")):
        plain, own = (results[f"{what}_s"][name] for name in ("plain", "custom"))
        added = results[f"{what}_added"]
        print(
            f"  {title:<28} {plain:.2f} s without, {own:.2f} s with: {statistics.median(added):+.1%} "
            f"[{min(added):+.1%} to {max(added):+.1%}]"
        )
    if options.json:
        options.json.write_text(json.dumps({"custom_metrics": results}, indent=2))


if __name__ == "__main__":
    main()
