"""Paired evidence: the numbers are scikit-learn's, and intervals hold as often as they say."""

from math import comb

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from monitors.stats.promotion.gate import GatePolicy, judge
from monitors.stats.promotion.paired import mcnemar_e_value
from monitors.stats.promotion.pairs import UnusablePairs
from monitors.stats.promotion.sequential import Looks
from tests.monitors.stats.promotion.traffic import compared, traffic

pytestmark = pytest.mark.slow


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

    def test_intervals_cover_no_difference_as_often_where_a_day_resembles_the_one_before(self):
        """They held nine errors of ten of which the days are like others by chance, and three of four of these."""
        rng, covered, likeness = np.random.default_rng(0), 0, 0.6
        for _ in range(400):
            days = rng.normal(size=30)
            for day in range(1, 30):
                days[day] = likeness * days[day - 1] + np.sqrt(1 - likeness**2) * days[day]
            pairs = {"y": np.zeros(3_000), "block": np.arange(3_000) // 100} | {
                side: np.repeat(moved, 100) + rng.normal(size=3_000)
                for side, moved in (("champion", 3 + 0.1 * days), ("challenger", 3 - 0.1 * days))
            }
            mae = compared(task="regression", confidence=0.9, **pairs).metrics["mae"]
            covered += mae.lower <= 0 <= mae.upper

        assert covered >= 0.79 * 400

    def test_a_clear_gain_is_seen_in_five_days_as_well(self):
        """Of 1,000 pairs of five days the interval was four times as wide as of one."""
        looks, widths = Looks(500, 5_000), []
        for seed in range(12):
            pairs = traffic(n=1_000, champion_noise=4.0, days=5, seed=seed)
            seen = 2 * pairs["y"] - 1 + 1.5 * np.random.default_rng(seed).normal(size=1_000)
            pairs["challenger"] = 1 / (1 + np.exp(-seen))
            by_days, by_rows = (
                compared(**pairs | {"block": block}, confidence=0.9, looks=looks).metrics["roc_auc"]
                for block in (pairs["block"], np.zeros(1_000))
            )
            widths.append((by_days.upper - by_days.lower) / (by_rows.upper - by_rows.lower))

        assert 1 <= np.median(widths) < 2.7

    def test_few_days_fall_back_to_rows(self):
        comparison = compared(**traffic(n=900, days=2))

        assert comparison.judged_by == "stretches"
        assert comparison.metrics["log_loss"].lower < comparison.metrics["log_loss"].upper

    def test_the_same_pairs_give_the_same_evidence(self):
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
