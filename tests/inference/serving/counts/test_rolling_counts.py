"""The last minute is what was counted since then, and nothing that came before."""

from inference.serving.counts.metrics import ServingMetrics
from inference.serving.counts.rolling_counts import RollingCounts


def rows_counted(rolling: RollingCounts, metrics: ServingMetrics, now: float) -> dict[str, int]:
    """The rows that the last minute knows of, by series."""
    series = metrics.snapshot()["series"]
    return {key: counts["rows"] for key, counts in rolling.describe(now, series)["series"].items()}


class TestRollingCounts:
    def test_forgets_what_is_older_than_a_minute(self) -> None:
        rolling, metrics = RollingCounts(0.0), ServingMetrics()
        metrics.series(1, "1", "champion").observe_run(5)
        first = rows_counted(rolling, metrics, 10.0)
        metrics.series(1, "1", "champion").observe_run(3)

        later = rows_counted(rolling, metrics, 75.0)

        assert (first, later) == ({"1/champion/1": 5}, {"1/champion/1": 3})

    def test_leaves_out_what_stands_still(self) -> None:
        rolling, metrics = RollingCounts(0.0), ServingMetrics()
        metrics.series(1, "1", "champion").observe_run(5)
        rows_counted(rolling, metrics, 10.0)
        metrics.series(2, "1", "champion").observe_run(1)

        assert rows_counted(rolling, metrics, 75.0) == {"2/champion/1": 1}

    def test_keeps_its_snapshots_from_counting_on(self) -> None:
        rolling, metrics = RollingCounts(0.0), ServingMetrics()
        series = metrics.series(1, "1", "champion")
        series.observe_run(5)
        rows_counted(rolling, metrics, 10.0)
        series.observe_run(5)

        grown = rolling.describe(75.0, metrics.snapshot()["series"])["series"]["1/champion/1"]

        assert sum(grown["batch_rows"]["counts"]) == 1

    def test_says_how_long_it_is(self) -> None:
        rolling = RollingCounts(100.0)

        assert [rolling.describe(now, {})["seconds"] for now in (102.0, 110.0, 171.0)] == [2.0, 10.0, 61.0]
