"""Labels that come by what was predicted: they are found, and the worst that the missing ones could be is tried."""

from dataclasses import replace

import numpy as np

from monitors.stats.promotion.gate import GatePolicy, judge
from tests.monitors.stats.promotion.traffic import compared, traffic

POLICY = GatePolicy("roc_auc")


class TestSelectiveLabels:
    def pairs_with_missing(self, missing_share_at_top: float) -> dict:
        pairs = traffic(challenger_noise=0.75)
        rng = np.random.default_rng(3)
        hidden = (pairs["champion"] > 0.7) & (rng.random(6_000) < missing_share_at_top)
        pairs["y"] = np.where(hidden, np.nan, pairs["y"])
        return pairs

    def test_labels_missing_at_random_are_not_selective(self):
        pairs = traffic(challenger_noise=0.5)
        pairs["y"][np.random.default_rng(0).random(6_000) < 0.1] = np.nan

        comparison = compared(**pairs)

        assert not comparison.selective_labels.found
        assert comparison.worst_case is None

    def test_coverage_that_depends_on_the_prediction_is_found(self):
        comparison = compared(**self.pairs_with_missing(0.5))

        assert comparison.selective_labels.found
        coverage = comparison.selective_labels.coverage_by_answer
        assert coverage[0] == 1.0
        assert coverage[-1] < 0.6

    def test_the_worst_case_is_no_better_than_any_labels_that_could_come(self):
        pairs = self.pairs_with_missing(0.5)
        missing = np.isnan(pairs["y"])
        worst = compared(**pairs).worst_case
        rng = np.random.default_rng(0)

        for share in (0.0, 0.3, 0.7, 1.0):
            filled = np.where(missing, rng.random(6_000) < share, pairs["y"])
            possible = compared(**(pairs | {"y": filled})).metrics
            for name in ("log_loss", "accuracy", "brier", "roc_auc"):
                sign = 1 if worst[name].higher_is_better else -1
                assert sign * worst[name].difference <= sign * possible[name].difference + 1e-9

    def test_a_verdict_that_survives_the_worst_case_stands(self):
        pairs = self.pairs_with_missing(0.05)
        pairs["challenger"] = traffic(challenger_noise=0.1)["challenger"]

        verdict = judge(compared(**pairs), POLICY)

        assert verdict.decision == "promote"
        assert "the verdict stays" in verdict.reasons[-1]

    def test_a_verdict_that_the_worst_case_turns_goes_to_a_person(self):
        verdict = judge(compared(**self.pairs_with_missing(0.8)), replace(POLICY, max_labelled=4_000))

        assert verdict.decision == "inconclusive"
        assert verdict.needs_person
        assert any("a person has to decide" in reason for reason in verdict.reasons)

    def test_missing_labels_of_other_tasks_take_their_worst_too(self):
        rng = np.random.default_rng(0)
        y = rng.normal(size=2_000)
        champion, challenger = y + rng.normal(size=2_000), y + 0.5 * rng.normal(size=2_000)
        hidden = np.where((champion > 1) & (rng.random(2_000) < 0.5), np.nan, y)
        number = compared(
            task="regression",
            y=hidden,
            champion=champion,
            challenger=challenger,
            block=np.arange(2_000) // 50,
        )
        table = rng.dirichlet([1, 1, 1], 2_000)
        classes = np.where((table[:, 0] > 0.5) & (rng.random(2_000) < 0.5), np.nan, rng.integers(0, 3, 2_000))
        kinds = compared(
            task="multiclass",
            y=classes,
            champion=table,
            challenger=table[:, ::-1],
            block=np.arange(2_000) // 50,
        )

        assert number.worst_case["mae"].difference > number.metrics["mae"].difference
        assert kinds.worst_case["accuracy"].difference < kinds.metrics["accuracy"].difference
        assert kinds.worst_case["log_loss"].difference > kinds.metrics["log_loss"].difference
