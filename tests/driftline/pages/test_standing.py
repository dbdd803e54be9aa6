"""How all models of a project stand at once, beside what the page of each says."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from driftline.accounts.models import Project
from driftline.pages import overview, verdict
from driftline.pages.model_health import health_of_models, verdict_of
from inference.registry.models import Model
from monitors.alerts.models import Incident
from monitors.alerts.services import handle_transition
from monitors.rules.models import Transition
from monitors.rules.services import create_rule
from tests.markup import markup
from tests.worlds.approvals import DAY, give_reference, log, make_model, rows_of_a_day, work

ONE_DAY = timedelta(days=1)
NAMES = ["alarming", "drifting", "quiet", "silent"]


def live(model: Model, *shifts: float) -> None:
    """Give a model a reference and some days whose income is so far off."""
    give_reference(model)
    for number, shift in enumerate(shifts):
        log(model, rows_of_a_day(DAY + number * ONE_DAY, 300, shift=shift))
        work(model)


@pytest.fixture
def models(project: Project, db: None) -> list[Model]:
    alarming, drifting, quiet, silent = (make_model(project, name) for name in NAMES)
    create_rule(
        project=project,
        model=alarming,
        actor="test",
        name="moved",
        metric="psi",
        feature="income",
        threshold=0.2,
    )
    live(alarming, 2.0, 2.0)
    live(drifting, 0.0, 2.0)
    log(quiet, rows_of_a_day(DAY, 10))
    for transition in Transition.objects.all():
        handle_transition(transition.pk)
    return [alarming, drifting, quiet, silent]


class TestStandings:
    def test_agree_with_each_models_own_page_and_begin_with_the_worst(
        self, project: Project, models: list[Model]
    ) -> None:
        found = health_of_models(project)

        assert [standing.status for standing in found] == ["warning", "notice", "no_data", "ok"]
        assert {s.model: s.status for s in found} == {one: verdict.of_model(one).status for one in models}
        worst = verdict.of_model(models[0]).text
        assert verdict_of(found).text == f"1 of 4 models needs attention. {worst}"

    def test_are_read_by_as_many_queries_however_many_models_there_are(
        self, project: Project, models: list[Model], client: Client
    ) -> None:
        with CaptureQueriesContext(connection) as few:
            client.get("/models/")
        for number in range(3):
            log(make_model(project, f"more-{number}"), rows_of_a_day(DAY, 10))

        with CaptureQueriesContext(connection) as many:
            page = markup(client.get("/models/"))

        assert "more-2" in page
        assert len(many) == len(few)

    def test_are_shown_a_page_at_a_time(
        self, models: list[Model], client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(overview, "MODELS_SHOWN", 3)

        first, second = (markup(client.get(f"/models/?page={page}")) for page in (1, 2))

        assert ("alarming</a>" in first, "quiet</a>" in first) == (True, False)
        assert ("alarming</a>" in second.split("<table")[1], "quiet</a>" in second) == (False, True)
        assert "All 4 models" in markup(client.get("/"))


class TestIncidents:
    def test_are_listed_by_as_many_queries_however_many_models_have_one(
        self, models: list[Model], client: Client
    ) -> None:
        incident = Incident.objects.get()
        with CaptureQueriesContext(connection) as few:
            client.get("/incidents/")
        for model in models[1:]:
            incident.pk, incident.model, incident.title = None, model, f"{model} is off"
            incident.save(force_insert=True)

        with CaptureQueriesContext(connection) as many:
            page = markup(client.get("/incidents/"))

        assert all(f"{model} is off" in page for model in models[1:])
        assert len(many) == len(few)
