"""What the shadows of a home did: a champion that is fast because its shadow was left out has shown nothing."""

import json
import time
from pathlib import Path

from msgspec import Struct

from inference.serving.counts.metrics import read_label_key
from inference.serving.status.status import STATUS_FOLDER, total_counts


class ShadowCounts(Struct, frozen=True):
    """Rows that champions and shadows answered, and batches that shadows were not given."""

    champion_rows: int
    shadow_rows: int
    dropped_batches: int

    def __sub__(self, before: "ShadowCounts") -> "ShadowCounts":
        return ShadowCounts(
            self.champion_rows - before.champion_rows,
            self.shadow_rows - before.shadow_rows,
            self.dropped_batches - before.dropped_batches,
        )

    def __add__(self, other: "ShadowCounts") -> "ShadowCounts":
        return ShadowCounts(
            self.champion_rows + other.champion_rows,
            self.shadow_rows + other.shadow_rows,
            self.dropped_batches + other.dropped_batches,
        )

    def describe(self) -> str:
        """Write it as a sentence."""
        return (
            f"the shadow answered {self.shadow_rows:,} of {self.champion_rows:,} rows; "
            f"{self.dropped_batches:,} batches were dropped"
        )


NOTHING = ShadowCounts(0, 0, 0)


def read_shadow_counts(home: Path) -> ShadowCounts:
    """Add up what the processes of a home have counted until now; they tell it once a second."""
    now = time.time()
    while any(moment < now for moment in _written_at(home)):
        time.sleep(0.05)
    counts = total_counts(home)
    rows = {"champion": 0, "shadow": 0}
    for key, series in counts["series"].items():
        _, _, role = read_label_key(key)
        rows[role] = rows.get(role, 0) + series["rows"]
    return ShadowCounts(rows["champion"], rows["shadow"], sum(counts["shadow_drops"].values()))


def _written_at(home: Path) -> list[float]:
    return [json.loads(path.read_bytes())["written_at"] for path in (home / STATUS_FOLDER).glob("*.json")]
