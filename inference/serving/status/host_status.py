"""What a serving host says of its processes, parsed before anything of it is kept, as pages and metrics read it."""

from typing import Any

import msgspec
from msgspec import Struct

from inference.runtime.providers import Execution
from inference.serving.counts.metrics import PHASES, ROWS, SECONDS, read_label_key


class HistogramCounts(Struct, frozen=True):
    """The sum of all values and the count of each bucket."""

    sum: float
    counts: list[int]


class SeriesCounts(Struct, frozen=True):
    """Counts of one model, version and role; times are in nanoseconds."""

    rows: int
    invalid_outputs: int
    faults: dict[str, int]
    phases: dict[str, HistogramCounts]
    batch_rows: HistogramCounts

    def __post_init__(self) -> None:
        lengths = {len(self.phases[phase].counts) if phase in self.phases else 0 for phase in PHASES}
        if lengths != {len(SECONDS) + 1} or len(self.batch_rows.counts) != len(ROWS) + 1:
            raise ValueError("counts have other buckets than this release")


class AllCounts(Struct, frozen=True):
    """What all processes of a host have counted, those included that have ended; `limits` are of the buckets."""

    limits: list[float]
    series: dict[str, SeriesCounts]
    refusals: dict[str, int]
    shadow_drops: dict[str, int]
    jobs_ended: dict[str, int]
    upstream_calls: dict[str, int]
    unlogged_rows: int

    def __post_init__(self) -> None:
        for labelled in (self.series, self.shadow_drops, self.jobs_ended, self.upstream_calls):
            for key in labelled:
                read_label_key(key)


class LastMinute(Struct, frozen=True):
    """What a process counted in the last minute."""

    seconds: float
    series: dict[str, SeriesCounts]

    def __post_init__(self) -> None:
        for key in self.series:
            read_label_key(key)


class Circuit(Struct, frozen=True):
    """How the way to a shadow or another server is."""

    model_id: int
    version: str
    circuit: str
    last_failure: str | None
    queued_rows: int = 0


class SpoolStatus(Struct, frozen=True):
    """How much of the spool waits for the drain, in bytes."""

    fsync: str
    written_bytes: int
    waiting_bytes: int
    full: bool


class Load(Struct, frozen=True):
    """What waits in a process and what is under way."""

    rows: float = 0.0
    requests: float = 0.0
    oldest_seconds: float = 0.0
    body_bytes: float = 0.0
    threads: float = 0.0
    threads_given_up: float = 0.0
    remote_threads: float = 0.0


class ProcessStatus(Struct, frozen=True):
    """What one serving process says of itself, without what `AllCounts` has of it."""

    pid: int
    started_at: float
    written_at: float
    ready: bool
    generation: int
    stale_models: dict[str, str]
    failed_versions: dict[str, str]
    executions: dict[str, Execution]
    shadows: list[Circuit]
    upstreams: list[Circuit]
    resident_bytes: int
    spool: SpoolStatus
    load: Load
    jobs_running: int
    last_minute: LastMinute


def process_status(report: dict[str, Any]) -> ProcessStatus:
    """Read the report of a process of this machine."""
    return msgspec.convert(report, ProcessStatus)


def all_counts(counts: dict[str, Any]) -> AllCounts:
    """Read the counts of this machine."""
    return msgspec.convert(counts, AllCounts)
