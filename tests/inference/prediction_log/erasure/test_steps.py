"""The order of the steps of an erasure."""

from driftline.base.feature import data_removals
from inference.prediction_log.erasure.services import steps


def test_each_step_of_a_feature_follows_the_one_that_it_names() -> None:
    order = [name for name, _ in steps()]
    of_features = [step for removal in data_removals() for step in removal.erasure]

    assert len(order) == len(set(order))
    assert len(of_features) >= 6
    for step in of_features:
        assert order.index(step.after) < order.index(step.name)


def test_rows_that_only_the_lake_holds_are_known_before_copies_are_looked_for() -> None:
    order = [name for name, _ in steps()]

    assert order.index("rows") < order.index("lake") < order.index("copies") < order.index("late writes")
