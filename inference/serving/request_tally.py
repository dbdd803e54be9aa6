"""What a process has already told the spool about how its requests ended, so that each is told once."""

from collections import Counter

from inference.prediction_log.record import EndedRequests, RequestCounts
from inference.serving.metrics import ServingMetrics

HOUR_S = 3600


class RequestTally:
    """Takes the counts that grew since the last time."""

    def __init__(self, metrics: ServingMetrics) -> None:
        self._metrics = metrics
        self._told: Counter[tuple[int, str, str, str]] = Counter()

    def take(self, now: float) -> RequestCounts | None:
        """Give what is not told yet, on the hour of `now` (seconds since 1970); None where nothing ended."""
        new = self._metrics.ended() - self._told
        if not new:
            return None
        self._told += new
        ended = [EndedRequests(*key, count) for key, count in sorted(new.items())]  # type: ignore[arg-type]
        return RequestCounts(int(now) // HOUR_S * HOUR_S, ended)

    def give_back(self, counts: RequestCounts) -> None:
        """Take back what could not be spooled; the next `take` tells it again."""
        for ended in counts.ended:
            self._told[ended.model_id, ended.version, ended.role, ended.outcome] -= ended.requests
