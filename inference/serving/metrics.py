"""What a serving process has done, counted where it happens and read as one dictionary."""

from collections import Counter
from typing import Any

SUBDIVISIONS = 3  # bits: eight buckets an octave, so a quantile is off by at most an eighth
BUCKETS = 8 * 30


def bucket_of(value: int) -> int:
    """Give the bucket of a whole number: exact below 8, then eight buckets for each doubling."""
    if value < 8:
        return max(value, 0)
    octave = value.bit_length() - 1 - SUBDIVISIONS
    return min((octave << SUBDIVISIONS) + (value >> octave), BUCKETS - 1)


def bucket_limit(bucket: int) -> int:
    """Give the first whole number above a bucket."""
    if bucket < 8:
        return bucket + 1
    octave = (bucket >> SUBDIVISIONS) - 1
    return ((bucket & 7) + 9) << octave


class Series:
    """Counts of one model, version and role. Latency is in microseconds, from arrival to answer."""

    def __init__(self) -> None:
        self.requests = 0
        self.rows = 0
        self.runs = 0
        self.invalid_outputs = 0
        self.latency_sum_us = 0
        self.latency_us: Counter[int] = Counter()  # bucket -> requests
        self.batch_rows: Counter[int] = Counter()  # bucket -> runs

    def observe_run(self, rows: int) -> None:
        """Count one run of the model."""
        self.runs += 1
        self.rows += rows
        self.batch_rows[bucket_of(rows)] += 1

    def observe_latency(self, latency_us: int) -> None:
        """Count one request that was answered."""
        self.requests += 1
        self.latency_sum_us += latency_us
        self.latency_us[bucket_of(latency_us)] += 1

    def snapshot(self) -> dict[str, Any]:
        """Give the counts; histograms as pairs of an upper limit (exclusive) and a count."""
        return {
            "requests": self.requests,
            "rows": self.rows,
            "runs": self.runs,
            "invalid_outputs": self.invalid_outputs,
            "latency_sum_us": self.latency_sum_us,
            "latency_us": _limits(self.latency_us),
            "batch_rows": _limits(self.batch_rows),
        }


class ServingMetrics:
    """All counts of one process; written by its threads, read by any."""

    def __init__(self) -> None:
        self._series: dict[tuple[int, str, str], Series] = {}
        self.refusals: Counter[int] = Counter()  # HTTP status -> answers
        self.shadow_drops: Counter[str] = Counter()  # reason -> batches
        self.unlogged = 0  # rows answered or refused because the spool could not take them

    def series(self, model_id: int, version: str, role: str) -> Series:
        """Give the counts of one model, version and role."""
        key = (model_id, version, role)
        found = self._series.get(key)
        if found is None:
            found = self._series.setdefault(key, Series())
        return found

    def snapshot(self) -> dict[str, Any]:
        """Give all counts as plain values, fit for JSON."""
        return {
            "series": [
                {"model_id": model_id, "version": version, "role": role, **series.snapshot()}
                for (model_id, version, role), series in sorted(self._series.copy().items())
            ],
            "refusals": {str(status): count for status, count in self.refusals.copy().items()},
            "shadow_drops": dict(self.shadow_drops.copy()),
            "unlogged_rows": self.unlogged,
        }


def _limits(counts: Counter[int]) -> list[tuple[int, int]]:
    return [(bucket_limit(bucket), count) for bucket, count in sorted(counts.copy().items())]
