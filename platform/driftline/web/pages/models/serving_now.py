"""How serving is now: what each live process, here and on serving hosts, counted in its last minute for a model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from driftline.base.number_format import format_number
from inference.registry.models import Model
from inference.registry.plan.plan_uptake import ServingProcessName
from inference.serving.counts.metrics import PHASES, ROWS, SECONDS, read_label_key
from inference.serving.status.status import live_reports

PHASE_WORDS = {
    "decode": "Reading the request",
    "queue": "Waiting for a run",
    "batch": "Joining the rows that run together",
    "compute": "The model",
    "encode": "Writing the answer and its record",
    "log": "Waiting until the record is safe",
}


@dataclass(frozen=True)
class Percentile:
    """A percentile read from buckets, in ms; `is_beyond` says that it lies above the last limit."""

    ms: float
    is_beyond: bool = False


@dataclass(frozen=True)
class Phase:
    """What part of a request's time goes where; `width` in percent of the longest phase."""

    words: str
    mean_ms: float
    share: float
    p99: Percentile | None
    width: int


@dataclass(frozen=True)
class ProcessLoad:
    """One serving process and this model's requests in it."""

    process: ServingProcessName
    since: datetime
    generation: int
    trouble: str
    memory_bytes: int
    seconds: float
    requests: int
    p50: Percentile | None
    p99: Percentile | None
    mean_batch: float | None
    faults: int
    waiting_requests: int
    waiting_rows: int
    oldest_ms: float
    runs_in_threads: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class BatchSize:
    """Runs of the model with up to so many rows; `width` in percent of the most frequent."""

    rows: str
    runs: int
    width: int


@dataclass(frozen=True)
class ServingNow:
    """All live processes, and their last minute together."""

    processes: Sequence[ProcessLoad]
    phases: Sequence[Phase]
    batches: Sequence[BatchSize]
    seconds: float

    @property
    def requests(self) -> int:
        return sum(process.requests for process in self.processes)

    @property
    def sentence(self) -> str:
        """Return how many processes answer, how much, and what waits."""
        if not self.processes:
            return "No serving process runs now."
        count = len(self.processes)
        who = "One serving process runs" if count == 1 else f"{count} serving processes run"
        waiting = sum(process.waiting_requests for process in self.processes)
        waits = f"{waiting:,} wait for a run" if waiting else "nothing waits"
        if not self.requests:
            return f"{who}; this model was not asked in the last {self.seconds:.0f} s, and {waits}."
        rate = sum(process.per_second for process in self.processes)
        return f"{who}; this model answers {format_number(rate)} requests a second, and {waits}."


def serving_now(model: Model, home: Path) -> ServingNow:
    """Read the status files of the live processes."""
    reports = list(live_reports(home))
    counted = [_counts_of(model, report) for report in reports]
    processes = [_process(model, report, counts) for report, counts in zip(reports, counted, strict=True)]
    together = [series for counts in counted for series in counts]
    return ServingNow(
        processes,
        _phases(together),
        _batches(together),
        max((report["last_minute"]["seconds"] for report in reports), default=0.0),
    )


def _counts_of(model: Model, report: dict[str, Any]) -> list[dict[str, Any]]:
    """The last minute of this model's versions that answered; what shadows do is no request."""
    counted = []
    for key, counts in report["last_minute"]["series"].items():
        model_id, _, role = read_label_key(key)
        if model_id == model.pk and role != "shadow":
            counted.append(counts)
    return counted


def _process(model: Model, report: dict[str, Any], series: list[dict[str, Any]]) -> ProcessLoad:
    total = _sum(counts["phases"]["total"]["counts"] for counts in series)
    runs = sum(sum(counts["batch_rows"]["counts"]) for counts in series)
    load = report["load"]
    return ProcessLoad(
        process=ServingProcessName.of(report),
        since=datetime.fromtimestamp(report["started_at"], UTC),
        generation=report["generation"],
        trouble=report["stale_models"].get(str(model.pk), "")
        or ("" if report["ready"] else "it is not ready"),
        memory_bytes=report["resident_bytes"],
        seconds=report["last_minute"]["seconds"],
        requests=sum(total),
        p50=percentile(total, 0.5),
        p99=percentile(total, 0.99),
        mean_batch=sum(counts["rows"] for counts in series) / runs if runs else None,
        faults=sum(sum(counts["faults"].values()) for counts in series),
        waiting_requests=load["requests"],
        waiting_rows=load["rows"],
        oldest_ms=load["oldest_seconds"] * 1e3,
        runs_in_threads=load["threads"],
    )


def _sum(rows: Iterable[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip(*rows, strict=True)]


def percentile(counts: Sequence[int], q: float) -> Percentile | None:
    """Read the `q` quantile from counts by `SECONDS`, spread evenly within a bucket; None without any count.

    >>> percentile([0, 10], 0.5)
    Percentile(ms=0.075, is_beyond=False)
    """
    total = sum(counts)
    if not total:
        return None
    rank, below = q * total, 0
    for place, count in enumerate(counts):
        if count and below + count >= rank:
            if place == len(SECONDS):
                break
            lower = SECONDS[place - 1] if place else 0.0
            return Percentile(round((lower + (SECONDS[place] - lower) * (rank - below) / count) * 1e3, 6))
        below += count
    return Percentile(SECONDS[-1] * 1e3, is_beyond=True)


def _phases(series: Sequence[dict[str, Any]]) -> list[Phase]:
    answered = sum(sum(counts["phases"]["total"]["counts"]) for counts in series)
    if not answered:
        return []
    sums = {phase: sum(counts["phases"][phase]["sum"] for counts in series) for phase in PHASES}
    longest = max(sums[phase] for phase in PHASE_WORDS) or 1
    return [
        Phase(
            words,
            mean_ms=sums[phase] / answered / 1e6,
            share=sums[phase] / (sums["total"] or 1),
            p99=percentile(_sum(counts["phases"][phase]["counts"] for counts in series), 0.99),
            width=round(100 * sums[phase] / longest),
        )
        for phase, words in PHASE_WORDS.items()
    ]


def _batches(series: Sequence[dict[str, Any]]) -> list[BatchSize]:
    counts = _sum(counts["batch_rows"]["counts"] for counts in series)
    most = max(counts, default=0) or 1
    names = [_rows(place) for place in range(len(ROWS) + 1)]
    return [
        BatchSize(name, runs, round(100 * runs / most))
        for name, runs in zip(names, counts, strict=False)
        if runs
    ]


def _rows(place: int) -> str:
    """Name a bucket of batch sizes, such as `5 to 8`."""
    if place == len(ROWS):
        return f"more than {ROWS[-1]:,}"
    least = ROWS[place - 1] + 1 if place else 1
    return f"{least:,}" if least == ROWS[place] else f"{least:,} to {ROWS[place]:,}"
