"""Metric points as a test needs them: stored as workers store theirs, or changed where they are stored."""

from collections.abc import Iterable
from typing import Any

from monitors.metrics.store.models import MetricPoint
from monitors.metrics.store.storing import save_points, update_points


def store_points(*points: MetricPoint) -> list[MetricPoint]:
    """Store points; those of one measure and window come together, or the later ones replace the others."""
    save_points(points)
    return list(points)


def change_points(points: Iterable[MetricPoint], **fields: Any) -> None:
    """Change fields of stored points."""
    changed = list(points)
    for point in changed:
        for name, value in fields.items():
            setattr(point, name, value)
    update_points(changed)
