"""The health of all models of a project, beside what the page of each says."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from driftline.base.accounts.models import Project
from driftline.web.pages import queries, verdict
from driftline.web.pages.models import model_list
from driftline.web.pages.models.model_health import health_of_models, verdict_of, worst_drifts
from inference.registry.models import Model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Incident
from monitors.metrics.catalogue import METRICS
from monitors.metrics.store.models import MetricPoint
from monitors.rules.models import Transition
from monitors.rules.services import create_rule
from tests.markup import markup
from tests.worlds.approvals import DAY, give_reference, label, log, make_model, rows_of_a_day, truths, work
from tests.worlds.points import change_points

pytestmark = pytest.mark.slow

ONE_DAY = timedelta(days=1)
NAMES = ["alarming", "drifting", "quiet", "silent"]


def live(model: Model, *shifts: float) -> None:
    """Give a model a reference and some days with an income that is so far off."""
    give_reference(model)
    for number, shift in enumerate(shifts):
        log(model, rows_of_a_day(DAY + number * ONE_DAY, 300, shift=shift))
        work(model)


def tile_of(page: str) -> str:
    """The status of the tile of performance."""
    return next(part for part in page.split('<a class="tile ')[1:] if "<h3>Performance" in part).split('"')[0]


@pytest.fixture(scope="module")
def living_models(project: Project) -> list[Model]:
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


@pytest.fixture
def models(living_models: list[Model], db: None) -> list[Model]:
    return [Model.objects.get(pk=model.pk) for model in living_models]


class TestStandings:
    def test_agree_with_each_models_own_page_and_begin_with_the_worst(
        self, project: Project, models: list[Model]
    ) -> None:
        found = health_of_models(project)

        assert [standing.status for standing in found] == [
            "warning", "notice", "not_monitored", "not_monitored",
        ]  # fmt: skip
        assert {s.model: s.status for s in found} == {one: verdict.of_model(one).status for one in models}
        worst = verdict.of_model(models[0]).text
        assert verdict_of(found).text == f"1 of 4 models needs attention. {worst}"

    def test_are_worth_a_notice_where_performance_is_beyond_its_limit_though_no_rule_fires(
        self, project: Project, models: list[Model], client: Client
    ) -> None:
        quiet = models[2]
        rows = rows_of_a_day(DAY + ONE_DAY, 300)
        log(quiet, [*rows, *rows_of_a_day(DAY + 2 * ONE_DAY, 1)])
        label(quiet, truths(rows))
        work(quiet)
        of_day = MetricPoint.objects.filter(model=quiet, span="day", version="", start=DAY + ONE_DAY)
        create_rule(
            project=project, model=quiet, actor="test", name="recall", metric="recall", operator="below",
            threshold=0.0,
        )  # fmt: skip

        statuses = []
        for metric in ("recall", "f1"):  # a rule has another limit for the first
            change_points(of_day.filter(metric=metric), status="warning", threshold=0.99)
            page = markup(client.get("/models/quiet/"))
            [listed] = [one.status for one in health_of_models(project) if one.model == quiet]
            statuses.append((listed, verdict.of_model(quiet).status, tile_of(page)))

        assert statuses == [
            ("ok", "ok", "ok"),
            ("notice", "notice", "warning"),
        ]
        overview = markup(client.get("/"))
        assert ">F1</a> beyond the limit" in overview
        assert "values that should not be there" not in overview.split("quiet</a>")[1].split("</tr>")[0]

    def test_name_the_statistic_that_decided_over_what_drifted_most(
        self, project: Project, models: list[Model], client: Client
    ) -> None:
        health = health_of_models(project)
        for one in health[:2]:
            decided = queries.drift_on(one.model, one.drift_start or DAY)
            assert worst_drifts(health)[one.model.pk] == decided[0]
        [alarming] = models[:1]
        statistics = MetricPoint.objects.filter(
            model=alarming, start=DAY + ONE_DAY, feature="income", segment="",
            metric__in=queries.DECIDING_METRICS,
        )  # fmt: skip
        for point in statistics:
            decides = point.metric == "wasserstein"
            change_points([point], detail=(point.detail or {}) | {"decides": decides})

        shown = worst_drifts(health)[alarming.pk]

        assert (shown.feature, shown.metric) == ("income", "wasserstein")
        assert METRICS["wasserstein"].title in markup(client.get("/models/?search=alarming"))

    def test_are_read_by_as_many_queries_however_many_models_there_are(
        self, project: Project, models: list[Model], client: Client
    ) -> None:
        client.get("/models/")  # the first visit notes that the member was here
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
        monkeypatch.setattr(model_list, "MODELS_SHOWN", 3)

        first, second = (markup(client.get(f"/models/?page={page}")) for page in (1, 2))

        assert ("alarming</a>" in first, "silent</a>" in first) == (True, False)
        assert ("alarming</a>" in second.split("<table")[1], "silent</a>" in second) == (False, True)


class TestIncidents:
    def test_are_listed_by_as_many_queries_however_many_models_have_one(
        self, models: list[Model], client: Client
    ) -> None:
        incident = Incident.objects.get()
        client.get("/incidents/")  # the first visit notes that the member was here
        with CaptureQueriesContext(connection) as few:
            client.get("/incidents/")
        for model in models[1:]:
            incident.pk, incident.model, incident.title = None, model, f"{model} is off"
            incident.save(force_insert=True)

        with CaptureQueriesContext(connection) as many:
            page = markup(client.get("/incidents/"))

        assert all(f"{model} is off" in page for model in models[1:])
        assert len(many) == len(few)
