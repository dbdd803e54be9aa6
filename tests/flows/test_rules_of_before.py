"""Rules that a release before named otherwise are the default rules of today, and nobody gets them twice."""

from typing import Any

import pytest

from driftline.accounts.models import Project
from inference.registry.models import Model
from monitors.rules.defaults import add_default_rules, missing_default_rules
from monitors.rules.models import Rule
from monitors.rules.services import create_rule
from monitors.workflows.models import Run
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day
from tests.worlds.migrating import leaves, migrate

BEFORE = [("monitors", "0031_annotations")]
FORMER = {
    "Data quality failure": "Inputs are broken",
    "Feature drift": "Inputs have moved",
    "Slow feature drift": "Inputs drift slowly",
    "Traffic drop": "Predictions stay away",
    "Labels missing": "Labels stay away",
    "Labels delayed": "Labels come late",
    "High latency": "Answers are slow",
    "ROC AUC below 0.65": "Ranks late flights worse than it used to",
}


def rule(project: Project, model: Model, name: str, **fields: Any) -> Rule:
    return create_rule(
        project=project,
        model=model,
        actor="test",
        name=name,
        metric="psi",
        threshold=0.2,
        feature="*",
        **fields,
    )


@pytest.mark.e2e  # it applies migrations back and again
@pytest.mark.django_db(transaction=True)
def test_rules_are_renamed_and_no_default_is_missing(project: Project, model: Model) -> None:
    model.objectives = {
        "label_lag_hours": 2, "latency_p99_ms": 100, "quality": {"metric": "accuracy", "floor": 0.7},
    }  # fmt: skip
    model.save()
    add_default_rules(project=project, model=model, actor="test")
    rule(project, model, "ROC AUC below 0.65")
    names = set(model.rules.values_list("name", flat=True))
    for name, former in FORMER.items():
        model.rules.filter(name=name).update(name=former)
    migrate(BEFORE)

    migrate(leaves())

    assert set(model.rules.values_list("name", flat=True)) == names
    assert missing_default_rules(model) == []


@pytest.mark.e2e  # it applies migrations back and again
@pytest.mark.django_db(transaction=True)
def test_what_started_a_run_is_renamed_with_its_rule(project: Project, model: Model) -> None:
    log(model, rows_of_a_day(DAY, 3))
    champion = model.versions.get()
    rule(project, model, "Inputs have moved")
    started = [
        Run.objects.create(model=model, champion=champion, data_until=DAY, trigger=trigger, state="failed")
        for trigger in ("rule Inputs have moved", "user ada")
    ]
    migrate(BEFORE)

    migrate(leaves())

    for run in started:
        run.refresh_from_db()
    assert [run.trigger for run in started] == ["rule Feature drift", "user ada"]


@pytest.mark.e2e  # it applies migrations back and again
@pytest.mark.django_db(transaction=True)
def test_a_rule_keeps_its_name_where_the_model_has_one_of_the_new_name(
    project: Project, model: Model
) -> None:
    other = make_model(project, "other")
    rule(project, model, "Feature drift")
    both = rule(project, model, "Inputs have moved")
    alone = rule(project, other, "Inputs have moved")
    migrate(BEFORE)

    migrate(leaves())

    both.refresh_from_db()
    alone.refresh_from_db()
    assert (both.name, alone.name) == ("Inputs have moved", "Feature drift")


@pytest.mark.e2e  # it applies migrations back and again
@pytest.mark.django_db(transaction=True)
def test_the_migration_goes_back(project: Project, model: Model) -> None:
    changed = rule(project, model, "Feature drift")

    migrate(BEFORE)
    try:
        named = Rule.objects.filter(pk=changed.pk).values_list("name", flat=True)  # it had fewer columns
        assert list(named) == ["Inputs have moved"]
    finally:
        migrate(leaves())
