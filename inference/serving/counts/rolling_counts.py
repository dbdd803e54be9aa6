"""What a process counted in the last minute: the difference of two snapshots, for whoever asks how it is now."""

from collections import deque
from typing import Any

SECONDS = 60.0
STEP_SECONDS = 5.0


class RollingCounts:
    """Keeps snapshots of the counts, the oldest about a minute old."""

    def __init__(self, started_at: float) -> None:
        self._kept: deque[tuple[float, dict[str, Any]]] = deque([(started_at, {})])

    def describe(self, now: float, series: dict[str, Any]) -> dict[str, Any]:
        """Return the series that counted something since the oldest snapshot, and the seconds since then."""
        while len(self._kept) > 1 and now - self._kept[1][0] >= SECONDS:
            self._kept.popleft()
        before_at, before = self._kept[0]
        if now - self._kept[-1][0] >= STEP_SECONDS:
            self._kept.append((now, _copy_changed(series, self._kept[-1][1])))
        grown = {key: counts for key, counts in series.items() if counts != before.get(key)}
        return {
            "seconds": now - before_at,
            "series": {key: difference(counts, before.get(key, {})) for key, counts in grown.items()},
        }


def difference(after: Any, before: Any) -> Any:
    """Subtract two trees of counts; what `before` does not have yet counts as nothing.

    >>> difference({"rows": 5, "counts": [3, 2]}, {"rows": 1, "counts": [1, 0]})
    {'rows': 4, 'counts': [2, 2]}
    """
    if isinstance(after, dict):
        return {name: difference(value, (before or {}).get(name)) for name, value in after.items()}
    if isinstance(after, list):
        return [now - then for now, then in zip(after, before or [0] * len(after), strict=True)]
    return after - (before or 0)


def _copy_changed(series: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Copy the series that have counted since `before` and share the others, most of them versions long replaced."""
    return {
        key: before[key] if counts == before.get(key) else _copy(counts) for key, counts in series.items()
    }


def _copy(tree: Any) -> Any:
    """Copy a tree of counts, whose lists go on counting."""
    if isinstance(tree, dict):
        return {name: _copy(value) for name, value in tree.items()}
    return list(tree) if isinstance(tree, list) else tree
