from typing import Any

import numpy as np
import pytest

from monitors.stats.estimation.error_profile import estimate_errors, profile_errors
from monitors.stats.estimation.learnt_errors import LearntErrors, learn_errors

World = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]


def parcels(rng: np.random.Generator, n: int, *, express: float = 0.2, lost: float = 0.0) -> World:
    """Days that parcels take: those sent by express are foretold well, those that cross a border are not.

    The answer is of the same size for all; `lost` is the share of weights that are not known.
    """
    weight, service = rng.gamma(2.0, 2.0, n), rng.choice(["express", "post"], n, p=[express, 1 - express])
    border = rng.random(n) < 0.3
    answer = 3 + rng.normal(size=n)
    spread = np.where(service == "express", 0.2, 1.0) * np.where(border, 3.0, 1.0)
    truth = answer + rng.normal(size=n) * spread
    weight[rng.random(n) < lost] = np.nan
    return {"weight": weight, "service": service.astype(object), "border": border * 1.0}, truth, answer


def learn(world: World, days: np.ndarray | None = None) -> LearntErrors:
    learnt, _ = learn_errors(*world, days)
    assert learnt is not None
    return learnt


def estimated_mae(learnt: LearntErrors, features: dict[str, Any], answer: np.ndarray) -> float:
    value = estimate_errors(learnt.profile, learnt.count(features, answer))["mae"].value
    assert value is not None
    return value


@pytest.fixture(scope="module")
def learnt() -> LearntErrors:
    return learn(parcels(np.random.default_rng(0), 8_000))


class TestLearntErrors:
    def test_follow_a_feature_that_the_prediction_does_not_show(self, learnt: LearntErrors) -> None:
        features, truth, answer = parcels(np.random.default_rng(1), 20_000, express=0.9)
        _, usual_truth, usual_answer = parcels(np.random.default_rng(0), 8_000)
        by_size = profile_errors(usual_answer - usual_truth, by=usual_answer)

        realised = np.abs(answer - truth).mean()

        assert estimated_mae(learnt, features, answer) == pytest.approx(realised, rel=0.05)
        assert by_size is not None
        blind = estimate_errors(by_size, by_size.count(answer))["mae"].value
        assert blind == pytest.approx(np.abs(usual_answer - usual_truth).mean(), rel=0.02)
        assert blind > 2 * realised

    def test_hold_the_realised_error_as_often_as_their_intervals_say(self, learnt: LearntErrors) -> None:
        rng, covered = np.random.default_rng(2), dict.fromkeys(("mae", "rmse"), 0)

        for _ in range(200):
            features, truth, answer = parcels(rng, 300, express=0.6)
            off = np.abs(answer - truth)
            realised = {"mae": off.mean(), "rmse": np.sqrt((off**2).mean())}
            estimates = estimate_errors(learnt.profile, learnt.count(features, answer))
            for name, value in realised.items():
                covered[name] += estimates[name].lower <= value <= estimates[name].upper  # type: ignore[operator]

        assert all(0.88 <= hits / 200 <= 0.99 for hits in covered.values()), covered

    def test_come_back_from_storage_as_they_were(self) -> None:
        world = parcels(np.random.default_rng(0), 3_000)
        world[0]["service"][world[0]["service"] == "post"] = "p\udcffst\0"
        stored = learn(world, np.arange(3_000) // 100)

        again = LearntErrors.decode(stored.encode())

        features, _, answer = world
        assert again.count(features, answer).tolist() == stored.count(features, answer).tolist()
        assert again.days["mae"].errors.tolist() == stored.days["mae"].errors.tolist()
        assert again.days["mae"].errors.size == 30

    @pytest.mark.slow
    def test_allow_for_days_whose_errors_go_together(self) -> None:
        rng = np.random.default_rng(3)
        features, truth, answer = parcels(rng, 6_000)
        days = np.arange(6_000) // 100
        worse = np.exp(rng.normal(size=60) * 0.5)[days]

        calm = learn((features, truth, answer), days).days["mae"].spread(1)[0]
        uneven = learn((features, answer + (truth - answer) * worse, answer), days).days["mae"].spread(1)[0]

        assert uneven > 5 * calm

    def test_say_which_features_rows_lack(self, learnt: LearntErrors) -> None:
        features, _, _ = parcels(np.random.default_rng(4), 50)

        assert learnt.lacking(features) == []
        assert learnt.lacking({name: features[name] for name in ("weight", "service")}) == ["border"]
        assert learnt.lacking(features | {"service": np.zeros(50)}) == ["service"]
        assert learnt.lacking(features | {"border": np.full(50, np.nan)}) == []

    def test_take_a_value_that_is_missing_where_none_ever_was_for_the_usual_one(
        self, learnt: LearntErrors
    ) -> None:
        features, _, answer = parcels(np.random.default_rng(5), 2_000)
        unknown = features | {"border": np.full(2_000, np.nan)}
        at_home = features | {"border": np.zeros(2_000)}

        assert learnt.count(unknown, answer).tolist() == learnt.count(at_home, answer).tolist()

    def test_know_what_a_missing_value_means_where_the_reference_has_some(self) -> None:
        rng = np.random.default_rng(6)
        features, truth, answer = parcels(rng, 8_000, lost=0.3)
        truth = np.where(np.isnan(features["weight"]), answer + 5 * (truth - answer), truth)

        seen = learn((features, truth, answer))

        features, _, answer = parcels(rng, 2_000)
        known = estimated_mae(seen, features, answer)
        assert estimated_mae(seen, features | {"weight": np.full(2_000, np.nan)}, answer) > 4 * known

    def test_take_levels_that_nobody_has_seen_and_numbers_beyond_all_bounds(
        self, learnt: LearntErrors
    ) -> None:
        features, _, answer = parcels(np.random.default_rng(7), 200)
        odd = {
            "weight": np.array([np.inf, -np.inf, 1e308, -1e308] * 50),
            "service": np.array(["drone", None] * 100, object),
            "border": features["border"],
        }

        assert learnt.count(odd, answer).sum() == 200

    def test_count_no_row_without_a_prediction(self, learnt: LearntErrors) -> None:
        features, _, answer = parcels(np.random.default_rng(8), 10)
        answer[:4] = [np.nan, np.inf, -np.inf, np.nan]

        assert learnt.count(features, answer).sum() == 6
        assert learnt.count(features, np.full(10, np.nan)).sum() == 0


class TestLearning:
    def test_is_left_where_features_tell_nothing_that_the_prediction_does_not(self) -> None:
        rng = np.random.default_rng(0)
        answer = rng.gamma(3.0, 1.0, 4_000)
        truth = answer + rng.normal(size=4_000) * answer

        learnt, why = learn_errors({"noise": rng.normal(size=4_000)}, truth, answer)

        assert learnt is None
        assert "features explain" in why
        assert "in rows not learnt from" in why

    def test_keeps_days_apart_so_that_what_only_names_the_day_does_not_help(self) -> None:
        rng = np.random.default_rng(0)
        days = np.repeat(np.arange(40), 100)
        answer = rng.normal(size=4_000)
        truth = answer + rng.normal(size=4_000) * np.exp(rng.normal(size=40))[days]
        name = {"serial": rng.permutation(40)[days] * 1.0}

        assert learn_errors(name, truth, answer)[0] is not None
        learnt, why = learn_errors(name, truth, answer, days)
        assert learnt is None
        assert "in days not learnt from" in why

    @pytest.mark.parametrize("off", [0.0, 1e200, np.nan], ids=["none", "too large", "unknown"])
    def test_needs_errors_that_can_be_squared(self, off: float) -> None:
        features, _, answer = parcels(np.random.default_rng(0), 500)

        assert learn_errors(features, answer + off, answer) == (None, "")

    def test_needs_more_than_ten_rows(self) -> None:
        assert learn_errors(*parcels(np.random.default_rng(0), 10)) == (None, "")

    def test_takes_columns_of_one_value_of_none_and_of_a_level_a_row(self) -> None:
        features, truth, answer = parcels(np.random.default_rng(0), 2_000)
        odd = {
            "same": np.ones(2_000),
            "empty": np.full(2_000, np.nan),
            "unsaid": np.full(2_000, None, object),
            "id": np.array([f"p{number}" for number in range(2_000)], object),
        }

        learnt = learn((features | odd, truth, answer))

        assert learnt.encoding.levels["id"] == {}
        assert learnt.count(features | odd, answer).sum() == 2_000
