"""A limit is suggested from what people called a false alarm: by back-test over the windows in which a rule fired."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from driftline.base.accounts.models import Project
from driftline.base.periods import Period
from inference.registry.models import Deployment, Model
from monitors.metrics.store.models import MetricPoint
from monitors.rules.judging.better_limit import BetterLimit, better_limit
from monitors.rules.models import Rule
from tests.worlds.points import store_points

DAY = timedelta(days=1)
START = datetime(2026, 3, 2, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def model() -> Model:
    project = Project.objects.create(slug="airport", name="Airport")
    model = Model.objects.create(project=project, name="flight-delay", task="binary")
    Deployment.objects.get_or_create(model=model)
    return model


def rule_of(model: Model, **fields: object) -> Rule:
    values = {
        "metric": "psi", "feature": "income", "threshold": 0.2, "judged_span": "day", "min_rows": 100,
        "cooldown": DAY, "notify_within": DAY, **fields,
    }  # fmt: skip
    return Rule.objects.create(project=model.project, model=model, name="r", **values)


def store(model: Model, episodes: Sequence[Sequence[float]]) -> list[Period]:
    """Store the values of each episode, a day each, with two days between episodes."""
    periods, day = [], START
    for values in episodes:
        for place, value in enumerate(values):
            store_points(
                MetricPoint(
                    model=model, role="champion", span="day", start=day + place * DAY, metric="psi",
                    feature="income", value=value, n=500, status="ok",
                )
            )  # fmt: skip
        periods.append(Period(day, day + len(values) * DAY))
        day += (len(values) + 2) * DAY
    return periods


def test_is_the_lowest_that_fires_in_no_false_alarm_and_still_in_the_others(model: Model) -> None:
    wrong, also_wrong, right = store(model, [[0.25, 0.31234], [0.28], [0.6, 0.9]])

    found = better_limit(rule_of(model), false_alarms=[wrong, also_wrong], others=[right])

    assert found == BetterLimit(threshold=0.313, false_alarms=2, kept=1, others=1)
    assert found.keeps_all


def test_looks_at_windows_in_a_row(model: Model) -> None:
    """A lone window of 0.9 does not fire where the rule asks for two."""
    wrong, right = store(model, [[0.9, 0.3, 0.3], [0.5, 0.5]])

    found = better_limit(rule_of(model, for_windows=2), false_alarms=[wrong], others=[right])

    assert found is not None
    assert (found.threshold, found.kept) == (0.3, 1)


def test_of_a_rule_for_values_below_is_the_highest(model: Model) -> None:
    wrong, right = store(model, [[0.15, 0.11], [0.02]])

    rule = rule_of(model, operator="below", threshold=0.2)
    found = better_limit(rule, false_alarms=[wrong], others=[right])

    assert found is not None
    assert (found.threshold, found.kept) == (0.11, 1)


def test_says_what_it_would_miss_where_none_tells_them_apart(model: Model) -> None:
    wrong, missed, kept = store(model, [[0.5], [0.3], [0.8]])

    found = better_limit(rule_of(model), false_alarms=[wrong], others=[missed, kept])

    assert found == BetterLimit(threshold=0.5, false_alarms=1, kept=1, others=2)
    assert not found.keeps_all


def test_takes_more_digits_where_three_are_too_few(model: Model) -> None:
    wrong, right = store(model, [[0.31231], [0.31249]])

    found = better_limit(rule_of(model), false_alarms=[wrong], others=[right])

    assert found is not None
    assert (found.threshold, found.kept) == (0.31231, 1)


def test_of_any_feature_looks_at_the_worst_one(model: Model) -> None:
    store_points(
        *(
            MetricPoint(
                model=model, role="champion", span="day", start=START, metric="psi", feature=feature, value=value,
                n=500, status="ok",
            )
            for feature, value in (("income", 0.25), ("age", 0.4))
        )
    )  # fmt: skip
    wrong = Period(START, START + DAY)

    found = better_limit(rule_of(model, feature="*"), false_alarms=[wrong], others=[])

    assert found is not None
    assert found.threshold == 0.4


def test_is_none_where_the_points_are_gone(model: Model) -> None:
    unstored = Period(START, START + DAY)

    assert better_limit(rule_of(model), false_alarms=[unstored], others=[]) is None


@pytest.mark.parametrize("seed", range(12))
def test_is_what_trying_every_limit_finds(model: Model, seed: int) -> None:
    draw = random.Random(seed)
    in_a_row, count = draw.choice([1, 2, 3]), 8
    episodes = [[round(draw.uniform(0.21, 1), 2) for _ in range(draw.randint(3, 5))] for _ in range(count)]
    periods = store(model, episodes)
    halves = periods[: count // 2], periods[count // 2 :]

    rule = rule_of(model, for_windows=in_a_row)
    found = better_limit(rule, false_alarms=halves[0], others=halves[1])

    def fires(values: Sequence[float], limit: float) -> bool:
        runs = (values[place : place + in_a_row] for place in range(len(values) - in_a_row + 1))
        return any(min(run) > limit for run in runs)

    limits = [hundredths / 100 for hundredths in range(20, 101)]
    by_hand = next(one for one in limits if not any(fires(values, one) for values in episodes[: count // 2]))
    kept = sum(fires(values, by_hand) for values in episodes[count // 2 :])
    assert found == BetterLimit(by_hand, false_alarms=4, kept=kept, others=4)
