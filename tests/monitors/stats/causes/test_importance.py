import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.stats.causes.importance import permutation_importance, rank_causes


def data_of(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "strong": rng.normal(size=2_000),
        "weak": rng.normal(size=2_000),
        "colour": rng.choice(np.array(["red", "blue"], dtype=object), 2_000),
        "unused": rng.normal(size=2_000),
    }


def score_of(data: dict[str, np.ndarray]) -> np.ndarray:
    return 1 / (1 + np.exp(-(2 * data["strong"] + 0.5 * data["weak"] + (data["colour"] == "red"))))


class TestPermutationImportance:
    def test_ranks_features_by_what_the_score_leans_on(self):
        importance = permutation_importance(
            score_of, data_of(np.random.default_rng(0)), rng=np.random.default_rng(1)
        )

        assert importance["strong"] > max(importance["colour"], importance["weak"])
        assert min(importance["colour"], importance["weak"]) > 0.03
        assert importance["unused"] == 0

    def test_measures_the_rise_of_log_loss_with_labels(self):
        rng = np.random.default_rng(0)
        data = data_of(rng)
        labels = rng.random(2_000) < score_of(data)

        importance = permutation_importance(score_of, data, labels, rng=rng)

        assert importance["strong"] > 0.2
        assert importance["unused"] == 0

    def test_takes_a_table_of_class_probabilities(self):
        rng = np.random.default_rng(0)
        data = data_of(rng)
        labels = (rng.random(2_000) < score_of(data)).astype(int)

        importance = permutation_importance(
            lambda columns: np.column_stack([1 - score_of(columns), score_of(columns)]), data, labels, rng=rng
        )

        assert max(importance, key=importance.__getitem__) == "strong"

    def test_measures_the_rise_of_absolute_error_of_a_regression(self):
        rng = np.random.default_rng(0)
        data = data_of(rng)

        importance = permutation_importance(
            lambda columns: 100 * columns["strong"], data, 100 * data["strong"], rng=rng
        )

        assert importance["strong"] == pytest.approx(100 * 2 / np.sqrt(np.pi), rel=0.1)
        assert importance["weak"] == 0

    def test_is_reproducible_and_leaves_the_data_alone(self):
        data = data_of(np.random.default_rng(0))
        before = {name: values.copy() for name, values in data.items()}

        first, second = (
            permutation_importance(score_of, data, rng=np.random.default_rng(4)) for _ in range(2)
        )

        assert first == second
        assert all((data[name] == before[name]).all() for name in data)


class TestRankCauses:
    def test_weighs_excess_drift_by_importance(self):
        causes = rank_causes(
            {"wind": 0.3, "hour": 0.3, "dest": 0.05}, dict.fromkeys(("wind", "hour", "dest"), 0.1),
            {"wind": 0.3, "hour": 0.1, "dest": 0.9},
        )  # fmt: skip

        assert [(cause.feature, round(cause.share, 6)) for cause in causes] == [
            ("wind", 0.75),
            ("hour", 0.25),
        ]

    def test_excess_alone_decides_when_importance_is_unknown(self):
        causes = rank_causes({"wind": 0.2, "hour": 0.4}, {"wind": 0.1, "hour": 0.1}, {})

        assert [cause.feature for cause in causes] == ["hour", "wind"]
        assert causes[0].share == pytest.approx(0.75)

    @given(
        st.dictionaries(
            st.sampled_from("abcdef"),
            st.tuples(st.floats(0, 10), st.floats(0.01, 1), st.floats(-1, 1)),
            max_size=6,
        )
    )
    def test_shares_add_up_to_one(self, features):
        causes = rank_causes(*({name: row[i] for name, row in features.items()} for i in range(3)))

        assert not causes or sum(cause.share for cause in causes) == pytest.approx(1)
        assert all(cause.drift > cause.threshold for cause in causes)
