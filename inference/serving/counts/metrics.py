"""What a serving process has done, counted where it happens and read as one dictionary.

Histograms have fixed limits, so that their counts add up over processes and over time.
"""

import threading
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from inference.serving.counts.token_uses import TokenUses

# What an answer's time is spent on, in order; their sums add up to that of `total`:
# reading the request, waiting for a run, joining the rows that run together, the model, writing answer and record,
# and waiting until the record is safe.
PHASES = ("decode", "queue", "batch", "compute", "encode", "log", "total")
SECONDS = (
    50e-6,
    1e-4,
    25e-5,
    5e-4,
    1e-3,
    25e-4,
    5e-3,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
WAIT_SECONDS = SECONDS  # stored counts lie between these limits: they may not change
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
ANSWERED = "answered"
INVALID = "invalid"  # refused for what it holds, before it is known who would answer
DROPPED = "dropped"  # a row that was to be copied to a shadow
MAX_RAW = 1024  # values that wait to be sorted into their buckets

_NANOSECONDS = [round(limit * 1e9) for limit in SECONDS]


def fault_of(status: int) -> str:
    """Name why a request was not answered, by the status of its answer."""
    if status in (429, 503):
        return "overloaded"
    return "late" if status == 504 else INVALID


class Histogram:
    """Counts of whole numbers by upper limits, which belong to their bucket, and one above the last limit.

    Single values wait in a list and are sorted many at a time: that costs a third of doing it one by one.
    """

    __slots__ = ("_counts", "_limits", "_lock", "_raw", "_sum")

    def __init__(self, limits: Sequence[int]) -> None:
        self._limits = limits
        self._raw: list[int] = []
        self._counts = [0] * (len(limits) + 1)
        self._sum = 0
        self._lock = threading.Lock()

    def extend(self, values: Iterable[int]) -> None:
        """Count several values."""
        self._raw.extend(values)
        if len(self._raw) > MAX_RAW:
            self._sort()

    def add(self, value: int, times: int) -> None:
        """Count one value several times."""
        with self._lock:
            self._counts[bisect_left(self._limits, value)] += times
            self._sum += value * times

    def _sort(self) -> None:
        if not self._raw:
            return
        with self._lock:
            raw = array("q", self._raw)
            del self._raw[: len(raw)]  # others may have appended meanwhile
            places = np.searchsorted(self._limits, np.frombuffer(raw, np.int64))
            self._counts = np.add(self._counts, np.bincount(places, minlength=len(self._counts))).tolist()
            self._sum += sum(raw)

    def snapshot(self) -> dict[str, Any]:
        """Return the sum of all values and the count of each bucket."""
        self._sort()
        return {"sum": self._sum, "counts": self._counts}


class Series:
    """Counts of one model, version and role; times are in nanoseconds."""

    def __init__(self) -> None:
        self.requests = 0  # answered
        self.rows = 0
        self.invalid_outputs = 0
        self.faults: Counter[str] = Counter()  # why requests were not answered -> requests
        self.phases = {phase: Histogram(_NANOSECONDS) for phase in PHASES}
        self.batch_rows = Histogram(ROWS)

    def observe_run(self, rows: int) -> None:
        """Count one run of the model."""
        self.rows += rows
        self.batch_rows.add(rows, 1)

    def observe_phases(self, nanoseconds: dict[str, int]) -> None:
        """Count what each phase took of one answer."""
        for phase, duration_ns in nanoseconds.items():
            self.phases[phase].add(duration_ns, 1)

    def snapshot(self) -> dict[str, Any]:
        """Return the counts as plain values, fit for JSON."""
        return {
            "rows": self.rows,
            "invalid_outputs": self.invalid_outputs,
            "faults": dict(self.faults.copy()),
            "phases": {phase: histogram.snapshot() for phase, histogram in self.phases.items()},
            "batch_rows": self.batch_rows.snapshot(),
        }


class ServingMetrics:
    """All counts of one process; written by its threads, read by any."""

    def __init__(self, upstream_calls: Counter[tuple[int, str, str]] | None = None) -> None:
        """Begin at zero; `upstream_calls` are counted elsewhere: model id, version, outcome -> calls."""
        self.upstream_calls = Counter() if upstream_calls is None else upstream_calls
        self._series: dict[tuple[int, str, str], Series] = {}
        self.refusals: Counter[int] = Counter()  # HTTP status -> answers
        self.shadow_drops: Counter[tuple[int, str, str]] = Counter()  # model id, version, reason -> batches
        self.dropped_copies: Counter[tuple[int, str, str]] = Counter()  # as shadow_drops -> rows
        self.jobs_ended: Counter[tuple[int, str, str]] = Counter()  # model id, version, state -> jobs
        self.jobs_running = 0  # now
        self.token_uses = TokenUses()
        self.unlogged = 0  # rows answered or refused because the spool could not take them

    def series(self, model_id: int, version: str, role: str) -> Series:
        """Return the counts of one model, version and role."""
        key = (model_id, version, role)
        series = self._series.get(key)
        if series is None:
            series = self._series.setdefault(key, Series())
        return series

    def ended(self) -> Counter[tuple[int, str, str, str]]:
        """Count by model, version, role and outcome how requests ended, and rows that were copied to shadows."""
        counts: Counter[tuple[int, str, str, str]] = Counter()
        for key, series in self._series.copy().items():
            if key[2] == "shadow":
                counts[*key, ANSWERED] = series.rows
            else:
                counts[*key, ANSWERED] = series.requests
                counts.update({(*key, fault): count for fault, count in series.faults.items()})
        for (model_id, version, _), rows in self.dropped_copies.copy().items():
            counts[model_id, version, "shadow", DROPPED] += rows
        return counts

    def waited(self) -> dict[tuple[int, str, str], list[int]]:
        """Count by model, version and role how long answered requests waited for a run; a shadow has no caller."""
        return {
            key: list(series.phases["queue"].snapshot()["counts"])
            for key, series in self._series.copy().items()
            if key[2] != "shadow"
        }

    def snapshot(self) -> dict[str, Any]:
        """Return all counts as a tree of mappings, fit for JSON; labels as `label_key` writes them."""
        return {
            "series": {
                label_key(*key): series.snapshot() for key, series in sorted(self._series.copy().items())
            },
            "refusals": {str(status): count for status, count in self.refusals.copy().items()},
            "shadow_drops": {
                label_key(*key): count for key, count in sorted(self.shadow_drops.copy().items())
            },
            "jobs_ended": {label_key(*key): count for key, count in sorted(self.jobs_ended.copy().items())},
            "upstream_calls": {
                label_key(*key): count for key, count in sorted(self.upstream_calls.copy().items())
            },
            "unlogged_rows": self.unlogged,
        }


def label_key(model_id: int, version: str, word: str) -> str:
    """Write the labels of a count as one text; `word` is a role, a reason or a state."""
    return f"{model_id}/{word}/{version}"


def read_label_key(key: str) -> tuple[int, str, str]:
    """Read model id, version and word from what `label_key` wrote."""
    model_id, word, version = key.split("/", 2)
    return int(model_id), version, word
