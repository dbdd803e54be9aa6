"""The serving processes' counts under the names that other servers have for them, for dashboards made for those.

Each alias sums a model's versions and roles as its server would count them: shadows' copies are no requests there.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric, UnknownMetricFamily

from inference.serving.counts.metrics import ROWS, SECONDS

Labelled = list[tuple[tuple[str, ...], dict[str, Any]]]
"""Counts of project, model, version and role."""


def alias_metrics(servers: Iterable[str], series: Labelled) -> Iterator[Metric]:
    """Yield the counts under the names of these servers, which are keys of `ALIASES`."""
    answered = [(key, counts) for key, counts in series if key[3] != "shadow"]
    for server in servers:
        yield from ALIASES[server](answered)


# -- Triton: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md --------------------
_TRITON_LABELS = ("project", "model", "version")
_TRITON: tuple[tuple[str, str, Callable[[dict[str, Any]], float]], ...] = (
    ("request_success", "Requests answered.", lambda counts: sum(counts["phases"]["total"]["counts"])),
    ("request_failure", "Requests that failed.", lambda counts: sum(counts["faults"].values())),
    ("count", "Rows answered.", lambda counts: counts["rows"]),
    ("exec_count", "Runs of the model.", lambda counts: sum(counts["batch_rows"]["counts"])),
    ("request_duration_us", "Time of all requests.", lambda counts: _microseconds(counts, "total")),
    ("queue_duration_us", "Time spent waiting.", lambda counts: _microseconds(counts, "queue", "log")),
    (
        "compute_input_duration_us",
        "Time spent reading inputs.",
        lambda counts: _microseconds(counts, "decode", "batch"),
    ),
    (
        "compute_infer_duration_us",
        "Time spent in the model.",
        lambda counts: _microseconds(counts, "compute"),
    ),
    ("compute_output_duration_us", "Time spent on answers.", lambda counts: _microseconds(counts, "encode")),
)


def _triton(series: Labelled) -> Iterator[Metric]:
    """Yield a version's answers under the names that Triton has for them, which end without `_total`."""
    for name, help_text, count in _TRITON:
        sums: dict[tuple[str, ...], float] = {}
        for (*version, _), counts in series:
            sums[tuple(version)] = sums.get(tuple(version), 0) + count(counts)
        family = UnknownMetricFamily(f"nv_inference_{name}", help_text, labels=_TRITON_LABELS)
        for key, value in sums.items():
            family.add_metric(key, value)
        yield family


def _microseconds(counts: dict[str, Any], *phases: str) -> float:
    nanoseconds: int = sum(counts["phases"][phase]["sum"] for phase in phases)
    return nanoseconds / 1000


# -- TensorFlow Serving: servables/tensorflow/util.cc, and batching/batching_session.cc --------------------------------
# Its histograms also have the labels API, entrypoint and runtime; ours count every protocol together.
_SERVING = ":tensorflow:serving"
_SERVING_LABELS = ("project", "model_name")
_STATUS = {
    "invalid": "INVALID_ARGUMENT",
    "model": "INTERNAL",
    "overloaded": "RESOURCE_EXHAUSTED",
    "late": "DEADLINE_EXCEEDED",
    "upstream": "UNAVAILABLE",
}
_MICROSECONDS = tuple(round(limit * 1e6) for limit in SECONDS)
_HISTOGRAMS: tuple[
    tuple[str, str, tuple[int, ...], float, Callable[[dict[str, Any]], dict[str, Any]]], ...
] = (
    (
        "request_latency",
        "Microseconds of a request.",
        _MICROSECONDS,
        1e-3,
        lambda counts: counts["phases"]["total"],
    ),
    (
        "runtime_latency",
        "Microseconds in the model.",
        _MICROSECONDS,
        1e-3,
        lambda counts: counts["phases"]["compute"],
    ),
    (
        "batching_session:queuing_latency",
        "Microseconds that a request waited for a run.",
        _MICROSECONDS,
        1e-3,
        lambda counts: counts["phases"]["queue"],
    ),
    (
        "batching_session:processed_batch_size",
        "Rows of a model's run.",
        ROWS,
        1,
        lambda counts: counts["batch_rows"],
    ),
)


def _tensorflow_serving(series: Labelled) -> Iterator[Metric]:
    """Yield a model's answers under TensorFlow Serving's names."""
    by_model: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for (project, model, *_), counts in series:
        by_model.setdefault((project, model), []).append(counts)
    yield _request_count(by_model)
    rows = CounterMetricFamily(f"{_SERVING}:request_example_count", "Rows answered.", labels=_SERVING_LABELS)
    for key, all_counts in by_model.items():
        rows.add_metric(key, sum(counts["rows"] for counts in all_counts))
    yield rows
    for name, help_text, limits, unit, choose in _HISTOGRAMS:
        family = HistogramMetricFamily(f"{_SERVING}:{name}", help_text, labels=_SERVING_LABELS)
        for key, all_counts in by_model.items():
            _add_sum(family, key, [choose(counts) for counts in all_counts], limits, unit)
        yield family


def _request_count(by_model: dict[tuple[str, ...], list[dict[str, Any]]]) -> Metric:
    family = UnknownMetricFamily(
        f"{_SERVING}:request_count", "Requests, by status.", labels=(*_SERVING_LABELS, "status")
    )
    for key, all_counts in by_model.items():
        answered = sum(sum(counts["phases"]["total"]["counts"]) for counts in all_counts)
        family.add_metric((*key, "OK"), answered)
        for fault, status in _STATUS.items():
            failed = sum(counts["faults"].get(fault, 0) for counts in all_counts)
            if failed:
                family.add_metric((*key, status), failed)
    return family


def _add_sum(
    family: HistogramMetricFamily,
    key: tuple[str, ...],
    histograms: list[dict[str, Any]],
    limits: tuple[int, ...],
    unit: float,
) -> None:
    counts = [sum(places) for places in zip(*(one["counts"] for one in histograms), strict=True)]
    names = [*map(str, limits), "+Inf"]
    total = sum(one["sum"] for one in histograms) * unit
    family.add_metric(key, list(zip(names, accumulate(counts), strict=True)), total)


ALIASES: dict[str, Callable[[Labelled], Iterator[Metric]]] = {
    "triton": _triton,
    "tensorflow-serving": _tensorflow_serving,
}
