"""A canary's evidence: like sides give no difference, a better one is found, and what cannot be judged says why."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics

from monitors.stats.promotion.gate import GatePolicy
from monitors.stats.promotion.unpaired import Answered, UnpairedComparison, compare_sides, judge_sides

POLICY = GatePolicy("roc_auc")


def side(n: int, *, noise: float = 1.0, days: int = 30, seed: int = 0, **fields: object) -> Answered:
    """Answers of a noisy reader of the truth, spread evenly over some days."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    score = 1 / (1 + np.exp(-(truth + noise * rng.normal(size=n))))
    made = Answered(
        y=(rng.random(n) < 1 / (1 + np.exp(-truth))).astype(float),
        score=score,
        answer=(score >= 0.5).astype(float),
        block=np.arange(n) * days // n,
        latency_ms=np.full(n, 2.0),
        request=np.arange(n),
        requests=n,
        failed=0,
    )
    return replace(made, **fields)


def compared(champion: Answered, challenger: Answered) -> UnpairedComparison:
    return compare_sides(task="binary", champion=champion, challenger=challenger)


class TestCompareSides:
    def test_values_are_those_of_scikit_learn_on_each_side(self) -> None:
        champion, canary = side(900), side(300, seed=1)

        found = compared(champion, canary)

        assert (found.champion.rows, found.challenger.labelled, found.n_blocks) == (900, 300, 30)
        for name, own in (("champion", champion), ("challenger", canary)):
            assert getattr(found.metrics["roc_auc"], name) == pytest.approx(
                metrics.roc_auc_score(own.y, own.score)
            )
            assert getattr(found.metrics["log_loss"], name) == pytest.approx(
                metrics.log_loss(own.y, own.score)
            )

    @pytest.mark.parametrize("days", [2, 30])
    def test_intervals_cover_no_difference_about_as_often_as_they_say(self, days: int) -> None:
        covered = 0
        for seed in range(100):
            champion, canary = side(900, days=days, seed=seed), side(300, days=days, seed=1_000 + seed)
            metric = compared(champion, canary).metrics["log_loss"]
            covered += metric.lower <= 0 <= metric.upper

        assert 88 <= covered <= 99

    def test_a_day_that_only_one_side_answered_takes_no_part(self) -> None:
        champion, canary = side(900), side(300, days=10, seed=1)
        shared = champion.block < 10

        found = compared(champion, canary)

        assert found.n_blocks == 10
        assert found.metrics["accuracy"].champion == pytest.approx(
            (champion.answer == champion.y)[shared].mean()
        )

    def test_without_labels_there_is_no_metric(self) -> None:
        found = compared(side(900), side(300, y=np.full(300, np.nan)))

        assert (found.metrics, found.challenger.labelled) == ({}, 0)

    def test_without_any_row_there_is_no_latency(self) -> None:
        assert compared(side(900), side(0)).challenger.latency_p99_ms is None


class TestJudgeSides:
    def test_a_better_canary_may_be_promoted_by_a_person(self) -> None:
        verdict = judge_sides(
            compared(side(9_000, noise=3.0), side(9_000, noise=0.3, seed=1)), POLICY, is_mismatch=False
        )

        assert (verdict.decision, verdict.needs_person) == ("promote", True)

    def test_a_worse_one_is_rejected(self) -> None:
        verdict = judge_sides(
            compared(side(9_000, noise=0.3), side(9_000, noise=3.0, seed=1)), POLICY, is_mismatch=False
        )

        assert verdict.decision == "reject"

    def test_one_that_fails_requests_is_rejected_before_its_labels_come(self) -> None:
        canary = side(300, y=np.full(300, np.nan), failed=60)

        verdict = judge_sides(compared(side(900), canary), POLICY, is_mismatch=False)

        assert verdict.decision == "reject"
        assert any(reason.startswith("20.00% of the canary's requests") for reason in verdict.reasons)

    def test_few_labels_say_how_many_are_missing(self) -> None:
        verdict = judge_sides(compared(side(9_000), side(300, seed=1)), POLICY, is_mismatch=False)

        assert verdict.decision == "inconclusive"
        assert verdict.reasons[0].endswith("the gate needs 500.")

    def test_a_split_that_does_not_fit_says_nothing_about_the_versions(self) -> None:
        found = compared(side(9_000, noise=0.3), side(9_000, noise=3.0, seed=1))

        verdict = judge_sides(found, POLICY, is_mismatch=True)

        assert verdict.decision == "inconclusive"
        assert "not split" in verdict.reasons[0]
