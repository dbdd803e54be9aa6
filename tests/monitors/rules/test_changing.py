"""What it takes to write a rule; and that of two people who change one at once, nothing of either is lost."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.definitions.models import Monitor
from monitors.rules.judging.judge import backtest
from monitors.rules.models import Rule
from monitors.rules.services import create_rule, delete_rule, update_rule
from tests.driftline.web.pages.queries import reads_of
from tests.worlds.approvals import DAY

FOUR_COMPARISONS = {
    "all": [
        {"metric": "count", "threshold": 5},
        {"metric": "accuracy", "operator": "below", "threshold": 0.9},
        {"metric": "psi", "feature": "*", "threshold": 0.2},
        {"metric": "missing_share", "feature": "*", "threshold": 0.1},
    ]
}


@pytest.fixture
def rule(db: None) -> Rule:
    project = Project.objects.create(slug="bank", name="Bank")
    model: Model = create_model(project=project, name="approvals", task="binary", actor="test")
    return create_rule(project=project, model=model, actor="ada", name="few", metric="count", threshold=5)


def test_keeps_what_others_changed_since_it_was_read(rule: Rule) -> None:
    seen_by_ada, seen_by_bob = (Rule.objects.get(pk=rule.pk) for _ in range(2))

    update_rule(rule=seen_by_ada, actor="ada", threshold=7)
    update_rule(rule=seen_by_bob, actor="bob", name="hardly any")

    stored = Rule.objects.get(pk=rule.pk)
    assert (stored.name, stored.threshold) == ("hardly any", 7)


def test_is_not_found_once_the_rule_was_deleted(rule: Rule) -> None:
    seen = Rule.objects.get(pk=rule.pk)
    delete_rule(rule=rule, actor="ada")

    with pytest.raises(Problem) as refused:
        update_rule(rule=seen, actor="bob", threshold=7)

    assert (refused.value.status, refused.value.code) == (404, "rule_not_found")
    assert not Rule.objects.exists()


class TestTheMonitorsOfARulesModel:
    """They are read once, however many comparisons a rule has."""

    def test_are_read_once_when_a_rule_is_created(self, rule: Rule) -> None:
        with CaptureQueriesContext(connection) as asked:
            create_rule(
                project=rule.project, model=rule.model, actor="ada", name="much", condition=FOUR_COMPARISONS
            )

        assert len(reads_of(Monitor, asked)) == 1

    def test_are_read_once_when_a_rule_is_changed(self, rule: Rule) -> None:
        with CaptureQueriesContext(connection) as asked:
            update_rule(rule=rule, actor="ada", condition=FOUR_COMPARISONS, min_rows=500)

        assert len(reads_of(Monitor, asked)) == 1

    def test_are_read_once_when_a_rule_is_tested_on_the_past(self, rule: Rule) -> None:
        update_rule(rule=rule, actor="ada", condition=FOUR_COMPARISONS, min_rows=500)

        with CaptureQueriesContext(connection) as asked:
            backtest(rule=rule, start=DAY, end=DAY)

        assert len(reads_of(Monitor, asked)) == 1
