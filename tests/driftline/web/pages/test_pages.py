"""What pages say: the sentence at the top, the range in the URL, empty states, and whose objects are seen."""

import html
import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client, RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project
from driftline.base.errors import Problem
from driftline.base.number_format import format_pair
from driftline.web.pages import queries, verdict
from driftline.web.pages.timerange import range_of
from driftline.web.pages.verdict import Phrase, Statement
from inference.prediction_log.models import PredictionChunk
from inference.registry.models import Model
from inference.registry.versions import external_version
from monitors.alerts.models import Alert, Incident
from monitors.metrics.store.models import MetricPoint
from monitors.rules.models import Rule
from monitors.rules.services import create_rule
from tests.driftline.web.pages.queries import reads_of
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, give_reference, log, make_model, rows_of_a_day, work
from tests.worlds.moved_income import drift_of_income
from tests.worlds.points import change_points

ONE_DAY = timedelta(days=1)


@pytest.fixture(scope="class")
def drifted(
    project: Project, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The key of a model with four quiet days and two that moved, of which the first opened an incident."""
    home = tmp_path_factory.mktemp("home")
    with rows_of_many_tests(django_db_blocker), override_settings(HOME=home):
        yield drift_of_income(project, quiet=4, moved=2).pk


class TestAModelThatDrifted:
    @pytest.fixture
    def model(self, drifted: int, db: None) -> Model:
        return Model.objects.get(pk=drifted)

    def test_says_what_is_wrong_since_when_and_why(self, model: Model) -> None:
        incident = Incident.objects.get()

        said = verdict.of_model(model)

        assert said.status == "warning"
        assert "has been degraded since 9 Jan 2026: Population stability index of income" in said.text
        assert "above the limit of 0.2 of its rule (on 300 rows, 10 Jan 2026)" in said.text
        assert f'href="/incidents/{incident.pk}"' in said.html()

    @pytest.mark.parametrize(
        ("query", "shown"),
        [
            ("", {"income", "region"}),
            ("kind=number", {"income"}),
            ("kind=category", {"region"}),
            ("feature=INC", {"income"}),
        ],
    )
    def test_the_drift_page_shows_the_features_that_are_asked_for(
        self, client: Client, model: Model, query: str, shown: set[str]
    ) -> None:
        page = markup(client.get(f"/models/{model.name}/drift?from=2026-01-05&to=2026-01-10&{query}"))

        table = page.split("<tbody>")[1].split("</tbody>")[0]
        assert {name for name in ("income", "region") if f"/features/{name}" in table} == shown

    @pytest.mark.slow
    def test_tells_the_day_and_the_numbers_of_the_table_below_it(self, client: Client, model: Model) -> None:
        newest = MetricPoint.objects.filter(model=model, metric="psi", feature="income").latest("start")
        value, limit = format_pair(newest.value, Rule.objects.get().threshold)

        said, page = verdict.of_model(model).text, markup(client.get(f"/models/{model.name}/"))

        assert f"Likely cause: income (PSI {value}, limit {limit} of its rule on 10 Jan 2026)" in said
        features = page.split("Most drifted features")[1].split("</section>")[0]
        assert "10 Jan 2026" in features.split("</h2>")[0]
        assert "Population stability index" in features
        assert "p &lt; 0.0001" in features
        assert "Critical" not in features, "drift alone is no emergency"

    @pytest.mark.parametrize(
        ("where", "said"),
        [
            ("", "(missing values: 28.3% of rows, limit 5.0% when it opened; PSI"),
            (
                ", since 9 Jan 02:00 UTC",
                "(missing values: 28.3% of rows, limit 5.0%, since 9 Jan 02:00 UTC when it opened; PSI",
            ),
            (
                ", nearly all where region:north (100.0% of its rows)",
                "limit 5.0%, nearly all where region:north (100.0% of its rows) when it opened; PSI",
            ),
        ],
        ids=["anywhere", "since an hour", "in a segment"],
    )
    def test_closes_each_bracket_of_what_was_broken_when_it_opened(
        self, model: Model, where: str, said: str
    ) -> None:
        evidence = f"missing values in income: 28.3% of rows (limit 5.0%){where}"
        cause = {"kind": "fault", "feature": "income", "score": 0.283, "evidence": evidence}
        Incident.objects.update(causes=[cause])

        assert said in verdict.of_model(model).text

    @pytest.mark.slow
    def test_says_of_windows_that_drifted_no_more_than_that_they_add_up_to_no_slow_drift(
        self, client: Client, model: Model
    ) -> None:
        for path in ("drift", "features/income"):
            page = markup(client.get(f"/models/{model.name}/{path}"))

            assert "The windows add up to no slow drift" in page
            assert "within chance, one by one" not in page

    def test_names_beside_the_newest_count_what_it_counts_not_what_the_first_one_did(
        self, model: Model
    ) -> None:
        Rule.objects.update(metric="drifted_features", feature="", segment="", threshold=0)
        Alert.objects.update(detail={"feature": "", "point": {"counted": ["income", "region"]}})

        said = verdict.of_model(model).text

        assert "Drifted features (income) 1, above the limit of 0 (on 300 rows, 10 Jan 2026)" in said

    def test_counts_the_columns_with_faults_of_its_newest_day(self, client: Client, model: Model) -> None:
        quality = MetricPoint.objects.filter(model=model, metric="missing_share", span="day", version="")
        newest, before = DAY + 5 * ONE_DAY, DAY + 3 * ONE_DAY
        change_points(quality.filter(feature="income", start=newest), status="critical", value=0.3)
        change_points(quality.filter(start=before), status="warning", value=0.5)

        faults = queries.faults_in(model, DAY, DAY + 6 * ONE_DAY)
        page = markup(client.get(f"/models/{model.name}/"))

        assert list(faults.by_window.values()) == [0, 0, 0, quality.filter(start=before).count(), 0, 1]
        assert "missing values in income: 30.0%" in page

    @pytest.mark.slow
    def test_counts_the_features_that_drifted_each_day(self, client: Client, model: Model) -> None:
        psi = MetricPoint.objects.filter(model=model, metric="psi", span="day", version="", segment="")
        features = set(psi.values_list("feature", flat=True)) - {"prediction", "score"}
        change_points(psi.filter(feature__in=("prediction", "score")), status="critical", value=99.0)
        change_points(psi.filter(start=DAY), status="insufficient", value=None)

        drifted = queries.drifted_by_window(model, DAY, DAY + 6 * ONE_DAY)
        newest = queries.drift_on(model, DAY + 5 * ONE_DAY)
        page = markup(client.get(f"/models/{model.name}/"))

        every = len(features)
        assert list(drifted) == [DAY + number * ONE_DAY for number in range(1, 6)]
        assert list(drifted.values()) == [(0, every)] * 3 + [(1, every)] * 2
        assert newest[0].feature == "income"
        assert {point.feature for point in newest} == features
        assert f"1 of {every}" in page
        assert f"{1 / every:.0%} of features drifted on 10 Jan 2026" in page

    @pytest.mark.slow
    def test_says_that_a_metric_is_back_while_its_incident_is_still_open(self, model: Model) -> None:
        incident = Incident.objects.get()
        Rule.objects.update(recover_windows=3)
        log(model, rows_of_a_day(DAY + 6 * ONE_DAY, 300))
        work(model)
        model.refresh_from_db()

        said = verdict.of_model(model).text

        assert incident.status == "open"
        assert "of income went above the limit of 0.2 of its rule; it was back at" in said
        assert "(on 300 rows, 11 Jan 2026), and the incident ends after 3 good days in a row." in said
        assert "Likely cause when it began: income (no longer drifting, PSI" in said

    def test_says_of_a_limit_that_was_crossed_without_being_sure_that_it_may_be_chance(
        self, client: Client, model: Model
    ) -> None:
        day = MetricPoint.objects.filter(model=model, feature="income", span="day", start=DAY + 5 * ONE_DAY)
        change_points(day.filter(status__in=("warning", "critical")), status="ok")
        Rule.objects.update(enabled=False)

        page = markup(client.get(f"/models/{model.name}/features/income?day=2026-01-10"))

        assert "income may have moved by chance on 10 Jan 2026: median " in page
        assert "Beyond its limit, not significant" in page

    def test_does_not_blame_the_world_where_a_rule_saw_inputs_move(
        self, client: Client, model: Model
    ) -> None:
        Incident.objects.update(causes=[])

        said = verdict.of_model(model).text
        page = markup(client.get(f"/incidents/{Incident.objects.get().pk}"))

        assert "When it opened, no feature was beyond the limit that its reference sets." in said
        assert "The rule has a limit of its own." in page

    def test_names_in_each_place_of_its_incident_what_was_measured(
        self, client: Client, model: Model
    ) -> None:
        what = "Population stability index of income"

        page = markup(client.get(f"/incidents/{Incident.objects.get().pk}"))

        assert f"{what} of approvals is above 0.2 since 9 Jan 2026" in page
        assert f"<h3>{what} <small>" in page

    def test_names_the_segment_that_its_incident_is_of(self, client: Client, model: Model) -> None:
        Rule.objects.update(segment="region:north")

        page = markup(client.get(f"/incidents/{Incident.objects.get().pk}"))

        assert "Population stability index of income in region:north of approvals is above" in page

    def test_leads_with_the_worst_model(self, project: Project, model: Model) -> None:
        quiet = make_model(project, "quiet")
        pairs = [(one, verdict.of_model(one)) for one in (model, quiet)]

        assert verdict.of_project(pairs).text.startswith("1 of 2 models needs attention. approvals")

    def test_points_are_given_as_csv(self, client: Client, model: Model) -> None:
        answer = client.get(f"/models/{model.name}/data.csv?metric=psi&feature=income")

        lines = answer.content.decode().splitlines()
        assert lines[0].startswith("start,end,metric,feature")
        assert len(lines) == 7
        assert client.get(f"/models/{model.name}/data.csv?metric=vibes").status_code == 404


class TestTheSentence:
    @pytest.mark.slow
    def test_names_what_drifted_although_no_rule_asks_for_it(self, project: Project, model: Model) -> None:
        give_reference(model)
        log(model, rows_of_a_day(DAY, 300, shift=2.0))
        work(model)
        model.refresh_from_db()

        said = verdict.of_model(model)

        assert said.status == "notice"
        assert "but 1 of its features drifted on 5 Jan 2026: income (median " in said.text
        assert re.search(r"; Population stability index [\d.]+, limit 0.1, p < 0.0001\)", said.text)
        assert verdict.of_project([(model, said)]).text.startswith(
            "Nothing is urgent on 1 model. No rule fires"
        )

    def test_says_that_there_is_no_data(self, model: Model) -> None:
        assert verdict.of_model(model).status == "not_monitored"

    def test_says_what_a_model_lacks_to_be_monitored(self, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 1))

        said = verdict.of_model(model)

        assert said.status == "not_monitored"
        assert "has no reference" in said.text
        assert "Nobody is notified" in said.text

    @pytest.mark.slow
    def test_says_what_a_model_waits_for_that_is_learning(self, model: Model) -> None:
        give_reference(model)
        log(model, rows_of_a_day(DAY, 24) + rows_of_a_day(DAY + timedelta(days=1), 24))
        work(model)

        said = verdict.of_model(model)

        assert said.status == "learning"
        assert "drift has 24 of 50 rows in 1 day" in said.text

    @pytest.mark.slow
    def test_says_that_a_model_is_all_right_where_its_newest_window_was_judged(self, model: Model) -> None:
        give_reference(model)
        log(model, rows_of_a_day(DAY, 300))
        work(model)

        assert verdict.of_model(model).status == "ok"

    def test_counts_the_other_models_that_changed_and_those_that_are_not_monitored(
        self, project: Project
    ) -> None:
        changed = [make_model(project, name) for name in ("first", "second", "third")]
        said = [(one, Statement("notice", [Phrase(f"{one.name} changed.")])) for one in changed]
        silent = make_model(project, "silent")

        assert verdict.of_project([*said, (silent, verdict.of_model(silent))]).text == (
            "Nothing is urgent on 4 models. 1 of them is not monitored. first changed. 2 more models changed."
        )
        assert verdict.of_project(said[:2]).text.endswith("first changed. 1 more model changed.")

    def test_counts_the_models_that_are_not_monitored_where_nothing_changed(
        self, project: Project, model: Model
    ) -> None:
        silent = [(one, verdict.of_model(one)) for one in (model, make_model(project, "silent"))]

        assert verdict.of_project(silent).text == (
            "Nothing needs you: no rule fires on 2 models. 2 of them are not monitored."
        )
        assert verdict.of_project(silent).status == "not_monitored"


@pytest.mark.slow
def test_a_rules_limit_judges_a_value_where_people_made_one(
    client: Client, project: Project, model: Model
) -> None:
    log(model, rows_of_a_day(DAY, 300))  # each took 2 ms, and the model has no objective
    work(model)
    create_rule(project=project, model=model, actor="test", name="slow", metric="latency_p99", threshold=1.5)

    page = markup(client.get(f"/models/{model.name}/"))

    assert 'class="tile warning" href="/p/bank/models/approvals/latency"' in page
    assert "p99 on 5 Jan, limit 1.5 ms" in page


class TestTheRange:
    def at(self, model: Model, query: str = "") -> tuple[datetime, datetime]:
        chosen = range_of(RequestFactory().get(f"/{query}"), model)
        return chosen.start, chosen.end

    def test_ends_with_the_day_of_the_newest_event(self, model: Model) -> None:
        for number in range(40):
            log(model, rows_of_a_day(DAY + number * ONE_DAY, 2))

        assert self.at(model) == (DAY + 10 * ONE_DAY, DAY + 40 * ONE_DAY)

    def test_starts_with_the_first_event_of_a_young_model(self, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 2))

        assert self.at(model) == (DAY, DAY + ONE_DAY)

    def test_includes_the_last_date(self, model: Model) -> None:
        asked = self.at(model, "?from=2026-01-01&to=2026-01-31")

        assert asked == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))

    @pytest.mark.parametrize(
        "query", ["?from=soon", "?from=2026-02-01&to=2026-01-01", "?from=2026-13-01", "?to=" + "9" * 50]
    )
    def test_refuses_what_is_no_range(self, model: Model, query: str) -> None:
        with pytest.raises(Problem) as refused:
            self.at(model, query)

        assert refused.value.status == 400

    def test_keeps_a_chosen_range_in_the_links(self, client: Client, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 2))

        page = markup(client.get(f"/models/{model.name}/?from=2026-01-01&to=2026-01-31"))

        assert f"/models/{model.name}/drift?from=2026-01-01T00%3A00%3A00Z&amp;to=2026-02-01T00" in page


class TestEmptyStates:
    @pytest.mark.parametrize(
        "page",
        [
            "",
            "drift",
            "performance",
            "latency",
            "shadow",
            "versions",
            "runs",
            "rules",
            "reference",
            "rules/new",
        ],
    )
    def test_a_model_without_anything_has_every_page(self, client: Client, model: Model, page: str) -> None:
        answer = client.get(f"/models/{model.name}/{page}")

        assert answer.status_code == 200

    @pytest.mark.slow
    def test_a_model_without_rules_gets_the_default_ones_at_one_press(
        self, client: Client, model: Model
    ) -> None:
        offered = markup(client.get(f"/models/{model.name}/rules"))
        assert "Data quality failure" in offered

        client.post(f"/models/{model.name}/rules/defaults")

        there = markup(client.get(f"/models/{model.name}/rules"))
        assert "6 rules added" in there
        assert "6 rules watch this model" in there
        assert "Default rules" not in there
        assert "Drift needs a reference, and the model has none: the rule cannot fire." in there

    def test_a_back_test_without_a_window_to_judge_says_that_it_can_tell_nothing(
        self, client: Client, model: Model
    ) -> None:
        fields = {
            "name": "moved", "metric": "drifted_features", "span": "week", "operator": "above", "threshold": 0,
            "for_windows": 1, "recover_windows": 1, "min_rows": 50, "severity": "warning", "action": "notify",
            "cooldown_hours": 24, "notify_within_hours": 24, "do": "preview",
        }  # fmt: skip

        page = markup(client.post(f"/models/{model.name}/rules/new", fields))

        assert "It cannot be said when it would have fired: nothing was logged yet." in page
        assert "It would have fired" not in page

    def test_a_project_without_models_begins_with_the_first_steps(
        self, client: Client, project: Project
    ) -> None:
        assert client.get("/").url == "/p/bank/start/"  # type: ignore[attr-defined]

    def test_the_lines_to_copy_log_nothing_to_a_model_in_use_before_they_are_filled_in(
        self, client: Client, model: Model
    ) -> None:
        version = external_version(model=model, version="2026-11")
        version.signature = {
            "features": [{"name": "carrier", "type": "string"}, {"name": "dep", "type": "float"}]
        }
        version.save(update_fields=["signature"])

        page = html.unescape(markup(client.get(f"/start/?model={model.name}")))

        [command] = re.findall(r'<pre id="snippet-1">(.*?)</pre>', page, re.DOTALL)
        body = shlex.split(command)[-1]
        assert '"version": "2026-11", "features": {"carrier": "<text>", "dep": <number>}' in body
        with pytest.raises(json.JSONDecodeError):
            json.loads(body)

    @pytest.mark.django_db
    def test_a_person_without_a_project_is_told_so(self) -> None:
        client = PagesClient()
        client.force_login(User.objects.create_user("newcomer@bank.example"))

        answer = client.get("/models/")

        assert answer.status_code == 403
        assert "You are in no project yet" in markup(answer)


class TestWhoSeesWhat:
    def test_another_projects_model_does_not_exist(self, client: Client, model: Model, owner: User) -> None:
        theirs = create_project(
            slug="theirs", name="Theirs", owner=User.objects.create_user("them@x.example")
        )
        make_model(theirs, "secret")

        assert client.get("/models/secret/").status_code == 404
        assert client.post("/models/secret/rules/new").status_code == 404

    def test_a_viewer_may_look_and_not_change(self, project: Project, model: Model) -> None:
        viewer = viewer_of(project)

        assert viewer.get("/settings/channels").status_code == 200
        assert viewer.post("/settings/channels", {"do": "create"}).status_code == 403
        assert (
            "<button"
            not in markup(viewer.get(f"/models/{model.name}/rules/new"))
            .split("</fieldset>")[0]
            .split('form class="rule"')[1]
        )


@pytest.mark.slow
def test_references_come_alone_for_the_part_that_lives(client: Client, model: Model) -> None:
    give_reference(model)

    with CaptureQueriesContext(connection) as asked:
        part = markup(client.get(f"/models/{model.name}/reference?part=references"))

    assert part.startswith('<section id="references">')
    assert "2,000" in part
    assert not reads_of(PredictionChunk, asked)
