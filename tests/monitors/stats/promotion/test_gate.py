"""The gate: who is promoted, who is rejected, and what keeps a challenger waiting."""

from dataclasses import replace

import numpy as np
import pytest

from monitors.stats.promotion.gate import GatePolicy, judge
from tests.monitors.stats.promotion.traffic import compared, traffic

POLICY = GatePolicy("roc_auc")


class TestJudge:
    def test_a_better_challenger_is_promoted(self):
        verdict = judge(compared(**traffic(challenger_noise=0.5)), POLICY)

        assert verdict.decision == "promote"
        assert any("better beyond its interval" in reason for reason in verdict.reasons)

    def test_a_worse_challenger_is_rejected(self):
        verdict = judge(compared(**traffic(challenger_noise=2.0)), POLICY)

        assert verdict.decision == "reject"
        assert any("worse beyond its interval" in reason for reason in verdict.reasons)

    def test_an_equal_challenger_stays_open_until_the_cap(self):
        comparison = compared(**traffic(n=2_000))

        assert judge(comparison, POLICY).decision == "inconclusive"
        assert judge(comparison, replace(POLICY, max_labelled=2_000)).decision == "reject"

    def test_the_same_model_twice_is_never_promoted(self):
        pairs = traffic(n=2_000)

        verdict = judge(compared(**(pairs | {"challenger": pairs["champion"]})), POLICY)

        assert verdict.decision == "inconclusive"

    def test_too_few_labels_decide_nothing(self):
        verdict = judge(compared(**traffic(n=300, challenger_noise=0.1)), POLICY)

        assert verdict.decision == "inconclusive"
        assert verdict.reasons == ["300 labelled pairs have arrived; the gate needs 500."]

    def test_an_objective_that_cannot_be_computed_decides_nothing(self):
        verdict = judge(compared(**(traffic(n=600) | {"y": np.ones(600)})), POLICY)

        assert verdict.decision == "inconclusive"

    def test_a_better_order_with_worse_probabilities_is_not_promoted(self):
        pairs = traffic(challenger_noise=0.5)
        pairs["challenger"] = pairs["challenger"] ** 4

        verdict = judge(compared(**pairs), POLICY)

        assert verdict.decision == "reject"
        assert any("log_loss" in reason and "worse than the margin" in reason for reason in verdict.reasons)

    def test_a_custom_metric_with_a_margin_and_no_result_holds_back_a_better_challenger(self):
        margins = {"custom:cost": 0.5}

        verdict = judge(
            compared(**traffic(challenger_noise=0.5)), replace(POLICY, margins=margins, max_labelled=10_000)
        )

        assert verdict.decision == "inconclusive"
        assert "The metric custom:cost cannot be computed on both sides." in verdict.reasons

    @pytest.mark.parametrize(
        ("p99_cap_ms", "decision"), [(None, "inconclusive"), (10.0, "inconclusive"), (25.0, "promote")]
    )
    def test_a_slow_challenger_must_stay_under_the_cap(self, p99_cap_ms, decision):
        pairs = traffic(challenger_noise=0.5)
        slow = {"champion_latency_ms": np.full(6_000, 10.0), "challenger_latency_ms": np.full(6_000, 20.0)}

        policy = replace(POLICY, p99_cap_ms=p99_cap_ms, max_labelled=10_000)

        assert judge(compared(**pairs, **slow), policy).decision == decision

    @pytest.mark.parametrize(("p99_ms", "decision"), [(5.9, "promote"), (6.1, "inconclusive")])
    def test_a_slowdown_that_nobody_waits_for_is_no_harm(self, p99_ms, decision):
        slow = {"champion_latency_ms": np.full(6_000, 1.0), "challenger_latency_ms": np.full(6_000, p99_ms)}

        verdict = judge(
            compared(**traffic(challenger_noise=0.5), **slow), replace(POLICY, max_labelled=10_000)
        )

        assert verdict.decision == decision

    def test_one_batch_for_which_the_machine_stalled_does_not_keep_a_better_challenger_back(self):
        latency = np.random.default_rng(4).uniform(2.0, 3.0, 60).repeat(100)
        stalled = np.where(np.arange(6_000) // 100 == 7, 80.0, latency)
        slow = {
            "champion_latency_ms": latency,
            "challenger_latency_ms": stalled,
            "requests": np.arange(6_000) // 100,
        }

        verdict = judge(
            compared(**traffic(challenger_noise=0.5), **slow), replace(POLICY, max_labelled=10_000)
        )

        assert verdict.decision == "promote"
        assert any(
            "above the limit" in reason and "too few requests were slow" in reason
            for reason in verdict.reasons
        )

    def test_seconds_are_written_as_whole_milliseconds(self):
        slow = {
            "champion_latency_ms": np.full(6_000, 1_000.0),
            "challenger_latency_ms": np.full(6_000, 1_500.0),
        }

        verdict = judge(compared(**traffic(), **slow), replace(POLICY, p99_cap_ms=1_250.0))

        assert any("1,500 ms against 1,000 ms: within" in reason for reason in verdict.reasons)

    def test_a_harmed_segment_blocks_the_promotion(self):
        pairs = traffic(challenger_noise=0.4)
        harmed = np.arange(6_000) % 6 == 0
        pairs["challenger"] = np.where(
            harmed, traffic(challenger_noise=3.0)["challenger"], pairs["challenger"]
        )

        comparison = compared(**pairs, segments={"carrier:UA": harmed, "carrier:AA": ~harmed})
        verdict = judge(comparison, replace(POLICY, max_labelled=10_000))

        assert comparison.metrics["roc_auc"].lower > 0
        assert verdict.decision == "inconclusive"
        assert any("carrier:UA" in reason and "worse beyond" in reason for reason in verdict.reasons)

    def test_a_segment_of_few_rows_is_named_and_not_judged(self):
        pairs = traffic(challenger_noise=0.5)

        verdict = judge(compared(**pairs, segments={"tiny": np.arange(6_000) < 20}), POLICY)

        assert verdict.decision == "promote"
        assert "Segment tiny: 20 labelled pairs are too few to judge." in verdict.reasons
