from dataclasses import replace
from math import comb

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from monitors.stats.promotion.comparison import (
    GatePolicy,
    PairedComparison,
    UnusablePairs,
    compare_pairs,
    judge,
    mcnemar_e_value,
)

POLICY = GatePolicy("roc_auc")


def traffic(
    *,
    n: int = 6_000,
    champion_noise: float = 1.0,
    challenger_noise: float = 1.0,
    days: int = 30,
    seed: int = 0,
) -> dict:
    """Labelled pairs of two noisy readers of the same truth; the less noise, the better the model."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    return {
        "task": "binary",
        "y": (rng.random(n) < sigmoid(truth)).astype(float),
        "champion": sigmoid(truth + champion_noise * rng.normal(size=n)),
        "challenger": sigmoid(truth + challenger_noise * rng.normal(size=n)),
        "block": np.arange(n) * days // n,
    }


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def compared(**pairs) -> PairedComparison:
    return compare_pairs(rng=np.random.default_rng(1), **pairs)


class TestComparePairs:
    def test_values_are_those_of_scikit_learn(self):
        pairs = traffic(n=2_000)
        pairs["y"][::10] = np.nan
        labelled = ~np.isnan(pairs["y"])
        y = pairs["y"][labelled]

        comparison = compared(**pairs)

        assert (comparison.n_pairs, comparison.n_labelled, comparison.n_blocks) == (2_000, 1_800, 30)
        for role in ("champion", "challenger"):
            score = pairs[role][labelled]
            assert getattr(comparison.metrics["roc_auc"], role) == pytest.approx(
                metrics.roc_auc_score(y, score)
            )
            assert getattr(comparison.metrics["log_loss"], role) == pytest.approx(metrics.log_loss(y, score))
            assert getattr(comparison.metrics["brier"], role) == pytest.approx(
                metrics.brier_score_loss(y, score)
            )
            assert getattr(comparison.metrics["accuracy"], role) == pytest.approx(
                ((score >= 0.5) == y).mean()
            )

    def test_scores_with_ties_are_ranked_as_scikit_learn_does(self):
        pairs = traffic(n=600)
        pairs["champion"] = np.round(pairs["champion"], 1)

        comparison = compared(**pairs)

        exact = metrics.roc_auc_score(pairs["y"], pairs["champion"])
        assert comparison.metrics["roc_auc"].champion == pytest.approx(exact)

    def test_block_intervals_are_those_of_a_plain_bootstrap_of_days(self):
        pairs = traffic(n=1_500, challenger_noise=0.5)
        rng = np.random.default_rng(5)
        rows_of = [np.flatnonzero(pairs["block"] == day) for day in range(30)]
        plain = []
        for _ in range(400):
            rows = np.concatenate([rows_of[day] for day in rng.integers(0, 30, 30)])
            auc = [
                metrics.roc_auc_score(pairs["y"][rows], pairs[role][rows])
                for role in ("champion", "challenger")
            ]
            plain.append(auc[1] - auc[0])

        metric = compared(**pairs).metrics["roc_auc"]

        assert (metric.lower, metric.upper) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.005)

    def test_intervals_cover_no_difference_about_as_often_as_they_say(self):
        covered = 0
        for seed in range(100):
            metric = compared(**traffic(n=600, seed=seed)).metrics["log_loss"]
            covered += metric.lower <= 0 <= metric.upper

        assert 88 <= covered <= 99

    def test_days_that_err_together_widen_the_interval(self):
        pairs = traffic(n=3_000)
        good_days = pairs["block"] % 2 == 0
        pairs["challenger"] = np.where(good_days, pairs["y"] * 0.6 + 0.2, pairs["challenger"])

        by_days, by_rows = compared(**pairs), compared(**{**pairs, "block": np.arange(3_000)})

        widths = [c.metrics["accuracy"].upper - c.metrics["accuracy"].lower for c in (by_days, by_rows)]
        assert widths[0] > 2 * widths[1]

    def test_few_days_fall_back_to_rows(self):
        comparison = compared(**traffic(n=900, days=2))

        assert comparison.resampled == "rows"
        assert comparison.metrics["log_loss"].lower < comparison.metrics["log_loss"].upper

    def test_the_same_seed_gives_the_same_evidence(self):
        assert compared(**traffic(n=500)) == compared(**traffic(n=500))

    def test_pairs_without_any_label_have_no_metrics_but_disagreement_and_latency(self):
        pairs = traffic(n=500, challenger_noise=3.0) | {
            "y": np.full(500, np.nan),
            "champion_latency_ms": np.arange(500.0),
            "challenger_latency_ms": np.append(np.arange(499.0), np.nan),
        }

        comparison = compared(**pairs)

        assert comparison.metrics == {}
        disagree = (pairs["champion"] >= 0.5) != (pairs["challenger"] >= 0.5)
        assert comparison.disagreement == pytest.approx(disagree.mean())
        assert comparison.latency_p99_ms_champion == pytest.approx(494.01)

    def test_one_class_alone_has_no_auc(self):
        comparison = compared(**(traffic(n=300) | {"y": np.ones(300)}))

        assert "roc_auc" not in comparison.metrics
        assert "log_loss" in comparison.metrics

    def test_no_pairs_at_all_are_no_error(self):
        nothing = np.array([])

        comparison = compared(task="binary", y=nothing, champion=nothing, challenger=nothing, block=nothing)

        assert (comparison.n_pairs, comparison.metrics) == (0, {})

    def test_multiclass_metrics_are_those_of_scikit_learn(self):
        rng = np.random.default_rng(0)
        champion, challenger = rng.dirichlet([1, 1, 1], 900), rng.dirichlet([2, 1, 1], 900)
        y = np.array([rng.choice(3, p=row) for row in challenger])

        comparison = compared(
            task="multiclass", y=y, champion=champion, challenger=challenger, block=np.arange(900) // 30
        )

        assert comparison.metrics["log_loss"].challenger == pytest.approx(metrics.log_loss(y, challenger))
        assert comparison.metrics["accuracy"].champion == pytest.approx((champion.argmax(axis=1) == y).mean())
        one_hot = np.eye(3)[y]
        assert comparison.metrics["brier"].champion == pytest.approx(
            ((champion - one_hot) ** 2).sum(axis=1).mean()
        )

    def test_regression_metrics_are_those_of_scikit_learn(self):
        rng = np.random.default_rng(0)
        y = rng.normal(50, 10, 900)
        champion, challenger = y + rng.normal(0, 3, 900), y + rng.normal(0, 2, 900)

        comparison = compared(
            task="regression", y=y, champion=champion, challenger=challenger, block=np.arange(900) // 30
        )

        assert comparison.metrics["mae"].champion == pytest.approx(metrics.mean_absolute_error(y, champion))
        assert comparison.metrics["rmse"].challenger == pytest.approx(
            metrics.root_mean_squared_error(y, challenger)
        )
        assert comparison.mcnemar_e_value is None
        assert judge(comparison, GatePolicy("rmse")).decision == "promote"

    def test_evidence_is_json(self):
        pairs = traffic(n=500)

        told = msgspec.json.decode(
            msgspec.json.encode(compared(**pairs, segments={"a": pairs["champion"] > 0.4}))
        )

        assert told["metrics"]["roc_auc"]["higher_is_better"] is True
        assert told["segments"][0]["segment"] == "a"

    @pytest.mark.parametrize(
        "wrong",
        [{"task": "ranking"}, {"block": [1, 2]}, {"champion": np.zeros((500, 2))}, {"champion": [0.5]}],
    )
    def test_arrays_that_do_not_fit_are_refused(self, wrong):
        with pytest.raises(UnusablePairs):
            compared(**(traffic(n=500) | wrong))


class TestMcNemar:
    @given(st.integers(0, 60), st.integers(0, 60))
    def test_e_value_is_the_formula(self, only_champion, only_challenger):
        n = only_champion + only_challenger

        assert mcnemar_e_value(only_champion, only_challenger) == pytest.approx(
            2**n / ((n + 1) * comb(n, only_champion))
        )

    def test_is_fair_when_both_err_equally_often(self):
        expected = sum(comb(30, b) / 2**30 * mcnemar_e_value(b, 30 - b) for b in range(31))

        assert expected == pytest.approx(1)

    def test_counts_the_pairs_that_only_one_got_right(self):
        comparison = compared(
            task="binary",
            y=[1, 1, 0, 0],
            champion=[0.9, 0.1, 0.1, 0.9],
            challenger=[0.9, 0.9, 0.9, 0.9],
            block=[0] * 4,
        )

        assert (comparison.only_champion_right, comparison.only_challenger_right) == (1, 1)


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

    @pytest.mark.parametrize(
        ("p99_cap_ms", "decision"), [(None, "inconclusive"), (10.0, "inconclusive"), (25.0, "promote")]
    )
    def test_a_slow_challenger_must_stay_under_the_cap(self, p99_cap_ms, decision):
        pairs = traffic(challenger_noise=0.5)
        slow = {"champion_latency_ms": np.full(6_000, 10.0), "challenger_latency_ms": np.full(6_000, 20.0)}

        policy = replace(POLICY, p99_cap_ms=p99_cap_ms, max_labelled=10_000)

        assert judge(compared(**pairs, **slow), policy).decision == decision

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
            possible = compared(**(pairs | {"y": filled}), draws=10).metrics
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
