"""Counts and their buckets."""

from hypothesis import given
from hypothesis import strategies as st

from inference.serving.metrics import BUCKETS, ServingMetrics, bucket_limit, bucket_of


class TestBuckets:
    @given(st.integers(0, 2**31))
    def test_hold_a_value_within_an_eighth(self, value: int) -> None:
        bucket = bucket_of(value)

        lower = bucket_limit(bucket - 1) if bucket else 0
        assert lower <= value < bucket_limit(bucket) or bucket == BUCKETS - 1
        assert bucket_limit(bucket) - lower <= max(1, lower / 8)

    @given(st.integers(0, 2**40), st.integers(0, 2**40))
    def test_keep_the_order(self, one: int, other: int) -> None:
        assert (bucket_of(one) <= bucket_of(other)) or one > other


class TestServingMetrics:
    def test_count_by_model_version_and_role(self) -> None:
        metrics = ServingMetrics()
        metrics.series(1, "1", "champion").observe_run(3)
        metrics.series(1, "1", "champion").observe_latency(100)
        metrics.series(1, "2", "shadow").observe_run(3)

        champion, shadow = metrics.snapshot()["series"]

        assert (champion["requests"], champion["rows"], champion["latency_us"]) == (1, 3, [(104, 1)])
        assert (shadow["role"], shadow["runs"], shadow["batch_rows"]) == ("shadow", 1, [(4, 1)])
