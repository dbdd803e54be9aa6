"""A model of which the income moved for some days, with the incident that a rule on it opened."""

from datetime import timedelta

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from monitors.alerts.incidents.handling import handle_transition
from monitors.rules.services import create_rule
from tests.worlds.approvals import DAY, give_reference, log, make_model, rows_of_a_day, work


def drift_of_income(project: Project, *, quiet: int, moved: int) -> Model:
    """Make a model with so many quiet days, then days that moved by two standard deviations; the first is judged."""
    model = make_model(project)
    give_reference(model)
    rule = create_rule(
        project=project,
        model=model,
        actor="test",
        name="moved",
        metric="psi",
        feature="income",
        threshold=0.2,
    )
    for number in range(quiet + moved):
        shift = 2.0 if number >= quiet else 0.0
        log(model, rows_of_a_day(DAY + number * timedelta(days=1), 300, shift=shift))
        work(model)
    handle_transition(rule.transitions.get(kind="opened").pk)
    return model
