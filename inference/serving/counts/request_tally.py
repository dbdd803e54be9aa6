"""Counts of how the requests of a process ended and waited, for the spool: each request goes there once."""

from collections import Counter

from inference.prediction_log.spool.record import EndedRequests, RequestCounts, WaitedRequests
from inference.serving.counts.metrics import ServingMetrics

HOUR_S = 3600


class RequestTally:
    """Takes the counts that grew since the last time."""

    def __init__(self, metrics: ServingMetrics) -> None:
        self._metrics = metrics
        self._counted: Counter[tuple[int, str, str, str]] = Counter()
        self._counted_waits: dict[tuple[int, str, str], list[int]] = {}

    def take(self, now: float) -> RequestCounts | None:
        """Return what is not counted yet, on the hour of `now` (seconds since 1970); None where there is nothing."""
        new, waited = self._metrics.ended() - self._counted, self._new_waits()
        token_uses = self._metrics.token_uses.take(now)
        if not new and not waited and not token_uses:
            return None
        self._counted += new
        ended = [EndedRequests(*key, count) for key, count in sorted(new.items())]  # type: ignore[arg-type]
        return RequestCounts(int(now) // HOUR_S * HOUR_S, ended, waited, token_uses)

    def _new_waits(self) -> list[WaitedRequests]:
        new = []
        for key, counts in sorted(self._metrics.waited().items()):
            counted = self._counted_waits.get(key) or [0] * len(counts)
            if counts != counted:
                grown = [count - known for count, known in zip(counts, counted, strict=True)]
                new.append(WaitedRequests(*key, grown))  # type: ignore[arg-type]
                self._counted_waits[key] = counts
        return new

    def give_back(self, counts: RequestCounts) -> None:
        """Take back what could not be spooled; the next `take` counts it again."""
        self._metrics.token_uses.give_back(counts.token_uses)
        for ended in counts.ended:
            self._counted[ended.model_id, ended.version, ended.role, ended.outcome] -= ended.requests
        for waited in counts.waited:
            key = (waited.model_id, waited.version, waited.role)
            counted = zip(self._counted_waits[key], waited.counts, strict=True)
            self._counted_waits[key] = [known - count for known, count in counted]
