"""The serving processes' counts as Prometheus metrics: sums over all processes, dead ones included."""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from driftline.operations.observability.aliases import Labelled, alias_metrics
from inference.serving.counts.metrics import ROWS, SECONDS, read_label_key
from inference.serving.jobs.store import count_open, waiting_callbacks
from inference.serving.status.status import live_reports, total_counts, upstream_circuits

LABELS = ("project", "model", "version", "role")


class ServingCollector(Collector):
    """Reads the files that serving processes write every second and leave behind."""

    def __init__(self, home: Path, names: dict[int, tuple[str, str]], aliases: list[str]) -> None:
        """Make a collector; `names` has project and name of each model to show, by id.

        `aliases` are the servers under whose names the counts are given too.
        """
        self._aliases = aliases
        self._home = home
        self._live = list(live_reports(home))
        self._counts = total_counts(home)
        self._names = names

    def collect(self) -> Iterable[Metric]:
        """Yield the sums over all processes."""
        yield from self._present()
        series = list(self._labelled(self._counts["series"]))
        yield from _histograms(series)
        yield from _counters(series)
        yield from alias_metrics(self._aliases, series)
        yield self._by_word("driftline_shadow_drops", "Shadow batches dropped, by reason.", "reason")
        yield self._by_word("driftline_jobs_ended", "Jobs that ended, by state.", "state")
        yield self._by_word(
            "driftline_upstream_calls", "Calls of other servers, by how they ended.", "outcome"
        )
        yield self._circuits()
        refusals = CounterMetricFamily(
            "driftline_refusals", "Inference requests refused, by HTTP status.", labels=["status"]
        )
        for status, count in sorted(self._counts["refusals"].items()):
            refusals.add_metric([status], count)
        yield refusals
        yield CounterMetricFamily(
            "driftline_unlogged_rows",
            "Rows that the spool could not take.",
            value=self._counts["unlogged_rows"],
        )

    def _present(self) -> Iterator[Metric]:
        """Yield what the live processes are at."""
        live = self._live
        yield _gauge("driftline_serving_processes", "Serving processes that live.", len(live))
        yield _gauge(
            "driftline_serving_resident_bytes",
            "Memory that the serving processes hold.",
            sum(report["resident_bytes"] for report in live),
        )
        yield _gauge(
            "driftline_spool_waiting_bytes",
            "Bytes that wait in the spools for the drain.",
            _waiting_bytes(live),
        )
        for name, help_text, combine in _LOAD:
            values = [report["load"][name] for report in live]
            yield _gauge(f"driftline_queue_{name}", help_text, combine(values) if values else 0)
        running = sum(report.get("jobs_running", 0) for report in live)
        waiting = max(sum(count_open(self._home).values()) - running, 0)
        yield _gauge("driftline_jobs_running", "Jobs under way.", running)
        yield _gauge("driftline_jobs_waiting", "Jobs that wait to be run.", waiting)
        yield _gauge(
            "driftline_job_callbacks_waiting",
            "Callbacks of ended jobs that the database does not know of yet.",
            sum(1 for _ in waiting_callbacks(self._home)),
        )

    def _circuits(self) -> Metric:
        """Return for how many processes the other server of a version is left alone, or on trial."""
        family = GaugeMetricFamily(
            "driftline_upstream_circuits",
            "Serving processes by the state of the circuit to another server.",
            labels=[*LABELS[:3], "state"],
        )
        for (model_id, version), states in sorted(upstream_circuits(self._home).items()):
            for state, count in states.items():
                if model_id in self._names:
                    family.add_metric([*self._names[model_id], version, state], count)
        return family

    def _labelled(self, counts: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Yield counts with project, model, version and role or reason, of the models that may be seen."""
        for key, count in sorted(counts.items()):
            model_id, version, word = read_label_key(key)
            if model_id in self._names:
                yield (*self._names[model_id], version, word), count

    def _by_word(self, name: str, help_text: str, word: str) -> Metric:
        """Return counts that are kept by model, version and a word, such as a reason."""
        family = CounterMetricFamily(name, help_text, labels=[*LABELS[:3], word])
        for key, count in self._labelled(self._counts[name.removeprefix("driftline_")]):
            family.add_metric(list(key), count)
        return family


def _waiting_bytes(live: list[dict[str, Any]]) -> int:
    """Add up what waits on each machine; the processes of one say the same of it, at different moments."""
    waiting: dict[str, int] = {}
    for report in live:
        host = report.get("host", "")
        waiting[host] = max(waiting.get(host, 0), report["spool"]["waiting_bytes"])
    return sum(waiting.values())


_LOAD: tuple[tuple[str, str, Callable[[list[Any]], float]], ...] = (
    ("rows", "Rows that wait for a run.", sum),
    ("requests", "Requests that wait for a run.", sum),
    ("oldest_seconds", "Age of the request that has waited longest for a run.", max),
    ("body_bytes", "Bytes of the requests under way.", sum),
    ("threads", "Threads at work on slow models and large requests.", sum),
    ("remote_threads", "Threads that wait for other servers.", sum),
    ("threads_given_up", "Threads held by a model that does not end.", sum),
)


def _histograms(series: Labelled) -> Iterator[Metric]:
    latency = HistogramMetricFamily(
        "driftline_inference_latency_seconds", "From a request's arrival to its answer.", labels=LABELS
    )
    phases = HistogramMetricFamily(
        "driftline_inference_phase_seconds", "What a request's time is spent on.", labels=[*LABELS, "phase"]
    )
    rows = HistogramMetricFamily("driftline_inference_batch_rows", "Rows of a model's run.", labels=LABELS)
    for key, counts in series:
        for phase, histogram in counts["phases"].items():
            if phase == "total":
                _add(latency, key, histogram, SECONDS, 1e-9)
            else:
                _add(phases, (*key, phase), histogram, SECONDS, 1e-9)
        _add(rows, key, counts["batch_rows"], ROWS, 1)
    return iter((latency, phases, rows))


def _add(
    family: HistogramMetricFamily,
    labels: tuple[str, ...],
    histogram: dict[str, Any],
    limits: tuple[float, ...],
    unit: float,
) -> None:
    names = [*(f"{limit:g}" for limit in limits), "+Inf"]
    counts = accumulate(histogram["counts"])
    family.add_metric(labels, list(zip(names, counts, strict=True)), histogram["sum"] * unit)


def _counters(series: Labelled) -> Iterator[Metric]:
    rows = CounterMetricFamily("driftline_inference_rows", "Rows answered.", labels=LABELS)
    invalid = CounterMetricFamily(
        "driftline_inference_invalid_outputs", "Outputs that held NaN or infinity.", labels=LABELS
    )
    faults = CounterMetricFamily(
        "driftline_inference_faults", "Requests that were not answered, by fault.", labels=[*LABELS, "fault"]
    )
    for key, counts in series:
        rows.add_metric(key, counts["rows"])
        invalid.add_metric(key, counts["invalid_outputs"])
        for fault, count in sorted(counts["faults"].items()):
            faults.add_metric((*key, fault), count)
    return iter((rows, invalid, faults))


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, value=value)
