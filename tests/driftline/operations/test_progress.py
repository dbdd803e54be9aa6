"""How far the stages have come with models: of many at once as of each alone, and at a price that does not grow."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project
from driftline.operations.progress import progress_of, progress_of_each
from inference.registry.models import Model
from monitors.metrics.store.models import PendingEvaluation
from monitors.rules.models import Rule, Transition
from monitors.rules.services import create_rule
from monitors.workflows.services import configure_workflow
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, give_reference, log, make_model, rows_of_a_day, work
from tests.worlds.incidents import open_incident

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

A_DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def owner(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[User]:
    """The owner of the project, stored once with all that is made of it."""
    with rows_of_many_tests(django_db_blocker):
        yield User.objects.create_user("owner@bank.example")


@pytest.fixture(scope="module")
def project(owner: User) -> Project:
    return create_project(slug="bank", name="Bank", owner=owner)


@pytest.fixture(scope="module")
def models(project: Project) -> list[Model]:
    """One that is computed, one whose rows wait, one that fired, one without any."""
    computed, waiting, fired, silent = (make_model(project, name) for name in ("a", "b", "c", "d"))
    create_rule(
        project=project, model=fired, actor="test", name="rows", metric="count", threshold=1.0, operator="above",
        severity="critical",
    )  # fmt: skip
    give_reference(computed)
    for model in (computed, fired):
        log(model, rows_of_a_day(DAY, 60) + rows_of_a_day(DAY + A_DAY, 2))
        work(model)
    log(waiting, rows_of_a_day(DAY, 60))
    return [computed, waiting, fired, silent]


def test_what_waits_holds_a_model_back_and_what_fired_is_its_status(models: list[Model]) -> None:
    computed, waiting, fired, silent = (progress_of(model) for model in models)

    assert computed.computed_until == computed.newest == DAY + A_DAY * 1.5
    assert waiting.newest is not None
    assert waiting.newest > DAY + A_DAY * 0.9
    assert waiting.computed_until == DAY
    assert fired.computed_until is not None
    assert (silent.newest, silent.computed_until) == (None, None)
    assert [one.status for one in (computed, waiting, silent)] == ["ok", "not_monitored", "not_monitored"]


def test_an_event_at_the_very_start_of_what_waits_waits_with_it(project: Project) -> None:
    summarised, judged = (make_model(project, name) for name in ("e", "f"))
    for model in (summarised, judged):
        log(model, rows_of_a_day(DAY, 1))
    waits = progress_of(summarised)
    work(judged)
    done = progress_of(judged)
    PendingEvaluation.objects.create(model=judged)
    is_unjudged = progress_of(judged)

    assert {one.newest for one in (waits, done, is_unjudged)} == {DAY}
    assert done.computed_until == DAY
    assert waits.computed_until is not None
    assert is_unjudged.computed_until is not None
    assert max(waits.computed_until, is_unjudged.computed_until) < DAY


@pytest.mark.parametrize("severity", ["notice", "warning", "critical"])
def test_an_open_incident_gives_its_severity_as_the_status(models: list[Model], severity: str) -> None:
    fired = models[2]
    transition = Transition.objects.create(
        rule=Rule.objects.get(model=fired), model=fired, kind="opened", window_start=DAY, window_end=DAY + A_DAY,
        value=2.0, n=60, threshold=1.0,
    )  # fmt: skip
    open_incident(transition, severity=severity)

    assert progress_of(fired).status == severity


def test_of_many_models_is_told_what_is_told_of_each(models: list[Model]) -> None:
    assert progress_of_each(models) == {model.pk: progress_of(model) for model in models}


def test_a_list_of_more_models_asks_no_more_questions(
    models: list[Model], project: Project, owner: User
) -> None:
    client = Client()
    client.force_login(owner)

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert client.get("/api/v1/models").status_code == 200
        return len(asked)

    queries()
    few = queries()
    for number in range(5):
        make_model(project, f"more-{number}")

    assert queries() == few


def test_a_list_tells_how_each_model_is_retrained(models: list[Model], owner: User) -> None:
    configure_workflow(model=models[1], actor="test", pairs=700)
    client = Client()
    client.force_login(owner)

    items = client.get("/api/v1/models").json()["items"]

    assert [item["workflow"]["pairs"] for item in items] == [2_000, 700, 2_000, 2_000]
    assert items == [client.get(f"/api/v1/models/{item['name']}").json() for item in items]
