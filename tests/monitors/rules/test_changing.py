"""Two people change a rule at once: nothing of either is lost, and a deleted rule stays deleted."""

import pytest

from driftline.accounts.models import Project
from driftline.common.errors import Problem
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.rules.models import Rule
from monitors.rules.services import create_rule, delete_rule, update_rule


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
