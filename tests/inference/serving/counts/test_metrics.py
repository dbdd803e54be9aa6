"""Counts, and their sums over processes."""

import os
import threading
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from inference.serving.counts.metrics import (
    PHASES,
    ROWS,
    Histogram,
    ServingMetrics,
    label_key,
    read_label_key,
)
from inference.serving.status.status import LIMITS, retire, retire_dead, total_counts

values = st.lists(st.integers(0, 2**40), max_size=50)


class TestHistogram:
    @given(values, values)
    def test_counts_each_value_below_the_first_limit_that_holds_it(
        self, alone: list[int], repeated: list[int]
    ) -> None:
        histogram = Histogram([10, 1000])
        histogram.extend(alone)
        for value in repeated:
            histogram.add(value, 2)

        everything = [*alone, *repeated, *repeated]
        assert histogram.snapshot() == {
            "sum": sum(everything),
            "counts": [
                sum(value <= 10 for value in everything),
                sum(10 < value <= 1000 for value in everything),
                sum(value > 1000 for value in everything),
            ],
        }

    def test_loses_nothing_that_another_thread_counts_meanwhile(self) -> None:
        histogram = Histogram(ROWS)
        counting = threading.Thread(target=lambda: [histogram.extend([1, 2, 3]) for _ in range(20_000)])
        counting.start()
        while counting.is_alive():
            histogram.snapshot()
        counting.join()

        assert histogram.snapshot()["sum"] == 6 * 20_000


class TestServingMetrics:
    def test_count_by_model_version_and_role(self) -> None:
        metrics = ServingMetrics()
        metrics.series(1, "a/b", "champion").observe_run(3)
        metrics.series(1, "2", "shadow").observe_run(1)

        series = metrics.snapshot()["series"]

        assert {read_label_key(key): counts["rows"] for key, counts in series.items()} == {
            (1, "a/b", "champion"): 3,
            (1, "2", "shadow"): 1,
        }
        assert list(series["1/champion/a/b"]["phases"]) == list(PHASES)


class TestTotals:
    def write(self, folder: Path, pid: int, metrics: ServingMetrics) -> Path:
        path = folder / "serving" / f"{pid}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(msgspec.json.encode({"pid": pid, "started_at": 1.5, **metrics.snapshot()}))
        return path

    def test_add_up_the_living_and_the_dead(self, tmp_path: Path) -> None:
        metrics = ServingMetrics()
        metrics.series(1, "1", "champion").observe_run(3)
        metrics.shadow_drops[1, "2", "failed"] += 1
        metrics.refusals[429] += 1
        self.write(tmp_path, os.getpid(), metrics)
        for pid in (1_000_001, 1_000_002):
            retire(self.write(tmp_path, pid, metrics))

        counts = total_counts(tmp_path)

        assert counts["series"][label_key(1, "1", "champion")]["rows"] == 9
        assert counts["series"]["1/champion/1"]["batch_rows"]["counts"][2] == 3
        assert (counts["refusals"], counts["shadow_drops"]) == ({"429": 3}, {"1/failed/2": 3})

    def test_take_in_what_an_older_version_counted(self, tmp_path: Path) -> None:
        older = {name: count for name, count in ServingMetrics().snapshot().items() if name != "jobs_ended"}
        folder = tmp_path / "serving"
        folder.mkdir()
        totals = {"limits": LIMITS, "ended": [], **older, "unlogged_rows": 2}
        (folder / "totals").write_bytes(msgspec.json.encode(totals))
        (folder / "1000001.json").write_bytes(
            msgspec.json.encode({"pid": 1_000_001, "started_at": 1.5, **older})
        )

        retire_dead(tmp_path)

        assert total_counts(tmp_path)["unlogged_rows"] == 2
        assert total_counts(tmp_path)["jobs_ended"] == {}

    def test_hold_a_process_once_however_often_it_is_retired(self, tmp_path: Path) -> None:
        metrics = ServingMetrics()
        metrics.unlogged = 5
        for _ in range(3):
            retire(self.write(tmp_path, 1_000_001, metrics))

        assert total_counts(tmp_path)["unlogged_rows"] == 5
