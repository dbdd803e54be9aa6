"""Custom metrics: what they come to over rows, labels and corrections, who watches them, what is refused."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from msgspec.structs import replace
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import AuditEntry, Project, User
from driftline.base.accounts.services import create_project
from driftline.base.errors import Problem
from inference.prediction_log.items import LabelItem
from inference.prediction_log.models import TouchedPeriod
from inference.prediction_log.queries.newest_rows import MIN_COST
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model, RowsKept
from inference.registry.services import update_model
from monitors.alerts.incidents.handling import handle_transition as alert
from monitors.alerts.models import Incident
from monitors.alerts.wording import title_of
from monitors.definitions.custom_metrics.services import change_metric, define_metric, delete_metric
from monitors.definitions.models import CustomMetric
from monitors.definitions.segments import set_segments
from monitors.metrics.store.expiry import roll_up
from monitors.metrics.store.models import MetricPoint, PointName
from monitors.rules.judging.judge import backtest
from monitors.rules.models import Transition
from monitors.rules.services import create_rule
from monitors.summaries.checking import compare_with_rows
from monitors.summaries.models import StaleWindow, Summary
from monitors.workflows.selectors import paired_comparison
from monitors.workflows.services import configure_workflow
from tests.driftline.api.conftest import caller
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

COST = "cost(fp=5, fn=100, tn=-1)"
LONG_AGO = timedelta(days=3650)


def rows_of_model() -> list[SentPrediction]:
    """A day of 300 rows: every third is of the tenant acme, every tenth lacks its income."""
    return [
        replace(
            row,
            tags={"tenant": "acme"} if number % 3 == 0 else None,
            features=row.features | ({"income": None} if number % 10 == 0 else {}),
        )
        for number, row in enumerate(rows_of_a_day(DAY, 300))
    ]


@pytest.fixture(scope="module")
def owner(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[User]:
    """The owner of the project, stored once for the module with all that is made of it."""
    with rows_of_many_tests(django_db_blocker):
        yield User.objects.create_user("owner@bank.example")


@pytest.fixture(scope="module")
def project(owner: User) -> Project:
    return create_project(slug="bank", name="Bank", owner=owner)


@pytest.fixture(scope="module")
def measured_model(project: Project) -> Model:
    model = make_model(project)
    log(model, rows_of_model())
    label(model, truths(rows_of_model()))
    work(model)
    return model


@pytest.fixture
def model(measured_model: Model, db: None) -> Model:
    return Model.objects.get(pk=measured_model.pk)


@pytest.fixture
def client(owner: User) -> PagesClient:
    client = PagesClient()
    client.force_login(owner)
    return client


def define(model: Model, name: str, expression: str, **fields: object) -> CustomMetric:
    custom = define_metric(model=model, name=name, expression=expression, actor="test", **fields)  # type: ignore[arg-type]
    work(model)
    return custom


def point_of(custom: CustomMetric, *, segment: str = "", span: str = "day") -> MetricPoint:
    return MetricPoint.objects.filter(
        model=custom.model, metric=custom.metric, feature=custom.name, segment=segment, span=span,
        role="champion", version="",
    ).get(start=DAY)  # fmt: skip


def detail_of(point: MetricPoint) -> dict[str, Any]:
    return point.detail or {}


def model_without_hours(project: Project) -> Model:
    """Make a model with a first day that is stored without its hours, and points of two metrics in it."""
    model = make_model(project, name="rolled-up")
    log(model, rows_of_a_day(DAY, 240))
    for name, expression in (("income", "mean(income)"), ("highest", "max(income)")):
        define_metric(model=model, name=name, expression=expression, actor="test")
    work(model)
    log(model, rows_of_a_day(DAY + timedelta(days=30), 24))
    work(model)
    assert roll_up(model, timezone.now())
    assert not Summary.objects.filter(model=model, span="hour", start__lt=DAY + timedelta(days=1)).exists()
    return model


def known_incomes() -> list[float]:
    return [row.features["income"] for row in rows_of_model() if row.features["income"] is not None]  # type: ignore[misc]


def cost_of(rows: list[SentPrediction], labels: list[LabelItem]) -> float:
    costs = {("1", "1"): 0.0, ("1", "0"): 5.0, ("0", "1"): 100.0, ("0", "0"): -1.0}
    return sum(
        costs[str(row.prediction), str(one.label)] for row, one in zip(rows, labels, strict=True)
    ) / len(rows)


class TestOverThePast:
    def test_is_measured_of_rows_from_before_it_with_its_interval(self, model: Model) -> None:
        custom = define(model, "income", "mean(income)", unit="EUR")

        point = point_of(custom)
        assert point.value == pytest.approx(sum(known_incomes()) / 270, rel=1e-12)
        assert (point.n, detail_of(point)["left_out"], point.status) == (270, 30, "ok")
        assert None not in (point.lower, point.value, point.upper)
        assert [point.lower, point.value, point.upper] == sorted([point.lower, point.value, point.upper])  # type: ignore[type-var]

    def test_is_measured_in_each_segment(self, model: Model) -> None:
        set_segments(model=model, features=["region"], actor="test")

        custom = define(model, "acme", 'share(tag("tenant") == "acme")')

        of_north = [row for row in rows_of_model() if row.features["region"] == "north" and row.tags]
        point = point_of(custom, segment="region:north")
        assert (point.value, point.n) == (1.0, len(of_north))

    def test_costs_follow_labels_and_their_corrections(self, model: Model) -> None:
        rows, labels = rows_of_model(), truths(rows_of_model())
        custom = define(model, "cost", COST, unit="EUR", lower_is_better=True)
        before = point_of(custom).value
        turned = [replace(labels[0], label="0" if labels[0].label == "1" else "1"), *labels[1:]]

        label(model, turned[:1])
        work(model)

        assert before == pytest.approx(cost_of(rows, labels), rel=1e-12)
        assert point_of(custom).value == pytest.approx(cost_of(rows, turned), rel=1e-12)
        assert [difference for difference in compare_with_rows(100) if difference] == []

    def test_a_window_without_its_rows_is_not_judged_by_a_part_of_them(self, project: Project) -> None:
        model = make_model(project, name="forgetful")
        update_model(model=model, actor="test", rows_kept=RowsKept.NONE)
        rows = rows_of_a_day(DAY, 100)
        log(model, rows[:60])
        work(model)

        custom = define(model, "income", "mean(income)")
        log(model, rows[60:])
        work(model)

        point = point_of(custom)
        assert (point.n, point.status) == (40, "insufficient")
        assert "40 of 100 rows" in detail_of(point)["why"]


class TestRules:
    def test_a_rule_on_a_custom_metric_fires_and_its_incident_names_it_with_its_unit(
        self, client: PagesClient, project: Project, model: Model
    ) -> None:
        define(model, "cost a customer", COST, unit="EUR", lower_is_better=True)
        rule = create_rule(
            project=project, model=model, actor="test", name="too dear", metric="custom_of_labels",
            feature="cost a customer", threshold=1.5, for_windows=1, min_rows=100, notify_within=LONG_AGO, span="day",
        )  # fmt: skip

        log(model, rows_of_a_day(DAY + timedelta(days=1), 20))  # the day before has ended
        work(model)
        tested = backtest(rule=rule, start=DAY, end=DAY + timedelta(days=2))

        opened = Transition.objects.get(rule=rule, kind="opened")
        assert title_of(opened).startswith("approvals: cost a customer ")
        assert title_of(opened).endswith("EUR above 1.5 EUR")
        alert(opened.pk)
        incident = Incident.objects.get(alerts__rule=rule)
        assert "cost a customer" in incident.title
        assert client.get(f"/incidents/{incident.pk}").status_code == 200
        assert 'feature="cost a customer"' in client.get("/metrics/models").content.decode()
        assert [one.start for one in tested.opened] == [DAY]

    def test_a_metric_that_a_rule_watches_is_kept_until_the_rule_is_deleted(
        self, project: Project, model: Model
    ) -> None:
        custom = define(model, "income", "mean(income)")
        rule = create_rule(
            project=project,
            model=model,
            actor="test",
            name="rich",
            metric="custom",
            feature="income",
            threshold=1.0,
        )

        with pytest.raises(
            Problem, match=r"A rule watches the custom metric 'income' \('rich'\); change or delete"
        ):
            delete_metric(custom=custom, actor="test")
        with pytest.raises(Problem, match="A rule watches"):
            change_metric(custom=custom, actor="test", expression=COST)
        rule.delete()
        delete_metric(custom=custom, actor="test")
        work(model)

        assert not MetricPoint.objects.filter(model=model, metric="custom").exists()
        assert AuditEntry.objects.latest("pk").action == "custom_metric.delete"

    @pytest.mark.parametrize(
        ("feature", "metric", "sentence"),
        [
            ("incme", "custom", "did you mean 'income'?"),
            ("income", "custom_of_labels", "The points of 'income' are of the metric custom."),
        ],
    )
    def test_a_rule_names_a_metric_that_is_there(
        self, project: Project, model: Model, feature: str, metric: str, sentence: str
    ) -> None:
        define(model, "income", "mean(income)")

        with pytest.raises(Problem) as refused:
            create_rule(
                project=project,
                model=model,
                actor="test",
                name="rich",
                metric=metric,
                feature=feature,
                threshold=1.0,
            )

        assert sentence in refused.value.detail


class TestGate:
    def test_a_margin_holds_back_a_challenger_that_costs_more_on_the_same_requests(
        self, project: Project
    ) -> None:
        model = make_model(project, name="compared")
        rows, labels = rows_of_a_day(DAY, 300), truths(rows_of_a_day(DAY, 300))
        copies = [replace(row, version="2", role="shadow", prediction="0") for row in rows]
        log(model, rows)
        log(model, copies)
        label(model, labels)
        log(model, rows_of_a_day(DAY + timedelta(days=1), 20))
        custom = define(model, "cost", COST, lower_is_better=True)
        margins = {"custom:cost": 0.5}
        configure_workflow(model=model, actor="test", pairs=100, gate={"margins": margins})

        found = paired_comparison(
            model=model,
            champion=model.versions.get(version="1"),
            challenger=model.versions.get(version="2"),
        )

        assert found is not None
        compared = found.metrics["custom:cost"]
        expected = cost_of(copies, labels) - cost_of(rows, labels)
        assert compared["difference"] == pytest.approx(expected, rel=1e-9)
        bounds = [compared[name] for name in ("lower", "difference", "upper")]
        assert bounds == sorted(bound for bound in bounds if bound is not None)
        assert found.verdict.decision == "reject"
        assert any(
            reason.startswith("custom:cost") and "worse than the margin of 0.5" in reason
            for reason in found.verdict.reasons
        )
        with pytest.raises(Problem, match="The gate of promotions has a margin for the custom metric 'cost'"):
            delete_metric(custom=custom, actor="test")

    def test_a_margin_for_a_metric_that_is_missing_is_refused(self, model: Model) -> None:
        define(model, "cost", COST)

        with pytest.raises(Problem, match="use one of custom:cost"):
            configure_workflow(model=model, actor="test", gate={"margins": {"custom:costs": 0.5}})

    def test_a_margin_for_a_function_that_pairs_cannot_be_compared_by_is_refused_and_not_offered(
        self, client: PagesClient, model: Model
    ) -> None:
        define(model, "richest", "max(income)")
        define(model, "income", "mean(income)")

        with pytest.raises(Problem, match="'richest' cannot have a margin: pairs are compared by count, sum"):
            configure_workflow(model=model, actor="test", gate={"margins": {"custom:richest": 0.5}})

        page = markup(client.get("/models/approvals/workflow"))
        assert "margin_custom:income" in page
        assert "margin_custom:richest" not in page


class TestChanges:
    def test_another_expression_measures_the_past_anew(self, model: Model) -> None:
        custom = define(model, "income", "mean(income)")

        change_metric(custom=custom, actor="test", expression="max(income)")
        work(model)

        point = point_of(custom)
        assert (point.value, point.lower) == (max(known_incomes()), None)

    def test_no_point_of_one_that_was_deleted_remains_in_hours_without_a_summary(
        self, project: Project
    ) -> None:
        model = model_without_hours(project)
        delete_metric(custom=model.custom_metrics.get(name="income"), actor="test")
        work(model)

        points = MetricPoint.objects.filter(
            model=model, metric="custom", role="champion", version="", start__lt=DAY + timedelta(days=1)
        )
        assert set(points.values_list("feature", flat=True)) == {"highest"}
        assert points.filter(span="hour").count() == 24
        assert not PointName.objects.filter(model=model, measure="custom", feature="income").exists()
        delete_metric(custom=model.custom_metrics.get(), actor="test")
        custom = define(model, "rows", "count()")
        assert set(points.values_list("feature", flat=True)) == {custom.name}

    def test_hours_without_a_summary_have_points_of_the_new_expression_alone(self, project: Project) -> None:
        model = model_without_hours(project)
        hours = MetricPoint.objects.filter(
            model=model, metric="custom", feature="income", span="hour", role="champion", version="",
            start__gte=DAY, start__lt=DAY + timedelta(days=1),
        ).order_by("start")  # fmt: skip

        change_metric(custom=model.custom_metrics.get(name="income"), actor="test", expression="count()")

        assert not hours.exists()
        work(model)
        assert list(hours.values_list("value", flat=True)) == [10.0] * 24

    def test_to_delete_one_measures_nothing_again(self, model: Model) -> None:
        define(model, "rows", "count()")
        custom = define(model, "income", "mean(income)")

        delete_metric(custom=custom, actor="test")

        assert not StaleWindow.objects.filter(model=model).unfinished().exists()
        assert not TouchedPeriod.objects.filter(model=model).unfinished().exists()
        of_custom = MetricPoint.objects.filter(model=model, metric="custom")
        assert set(of_custom.values_list("feature", flat=True)) == {"rows"}

    def test_one_that_was_deleted_meanwhile_is_not_found(self, model: Model) -> None:
        custom = define(model, "income", "mean(income)")
        delete_metric(custom=CustomMetric.objects.get(pk=custom.pk), actor="test")

        with pytest.raises(Problem) as change_refused:
            change_metric(custom=custom, actor="test", unit="EUR")
        with pytest.raises(Problem) as deletion_refused:
            delete_metric(custom=custom, actor="test")

        assert change_refused.value.status == deletion_refused.value.status == 404

    def test_a_feature_that_rows_no_longer_have_leaves_them_out(self, model: Model) -> None:
        custom = define(model, "income", "mean(income)")
        day = DAY + timedelta(days=1)
        rows = [replace(row, features={"region": row.features["region"]}) for row in rows_of_a_day(day, 50)]

        log(model, rows)
        work(model)

        point = MetricPoint.objects.get(
            model=model, metric="custom", feature=custom.name, start=day, span="day", segment="", version=""
        )
        assert (point.value, point.status, detail_of(point)["left_out"]) == (None, "no_data", 50)

    def test_the_values_that_a_metric_needs_cannot_be_hidden(self, model: Model) -> None:
        define(model, "income", "mean(income)")

        with pytest.raises(
            Problem, match=r"The custom metric .income. needs the values of .income.; delete it first\."
        ):
            update_model(model=model, actor="test", privacy={"income": "drop"})

    @pytest.mark.parametrize(
        ("fields", "pointer"),
        [
            ({"name": "a:b"}, "/name"),
            ({"name": "x" * 101}, "/name"),
            ({"unit": "x" * 21}, "/unit"),
            ({"expression": "mean(nothing)"}, "/expression"),
            ({"expression": "(" * 10_240}, "/expression"),
        ],
    )
    def test_what_is_wrong_is_named_at_its_place(
        self, model: Model, fields: dict[str, Any], pointer: str
    ) -> None:
        with pytest.raises(Problem) as refused:
            define_metric(model=model, actor="test", **({"name": "a", "expression": "mean(income)"} | fields))

        assert [fault.pointer for fault in refused.value.errors] == [pointer]
        assert not model.custom_metrics.exists()


class TestApi:
    def test_defines_evaluates_lists_changes_and_deletes(self, model: Model) -> None:
        api = caller("bank")
        path = "/models/approvals/custom-metrics"

        evaluated = api.post(f"{path}/evaluate", {"expression": "mean(income)"}).json()
        made = api.post(path, {"name": "income", "expression": "mean(income)", "unit": "EUR"})
        work(model)
        points = api.get(
            "/models/approvals/metrics?metric=custom&feature=income&from=2026-01-05T00:00:00Z&to=2026-01-06T00:00:00Z"
        ).json()

        assert made.status_code == 201
        assert evaluated["value"] == pytest.approx(points["items"][0]["value"], rel=1e-12)
        assert (evaluated["rows"], evaluated["n"], evaluated["left_out"]) == (300, 270, 30)
        assert points["items"][0]["subject_kind"] == "custom_metric"
        month = api.get("/models/approvals/metrics?metric=custom&from=2026-01-01T00:00:00Z&step=month").json()
        assert [one["value"] for one in month["items"]] == [
            pytest.approx(points["items"][0]["value"], rel=1e-12)
        ]
        changed = api.send("PATCH", f"{path}/{made.json()['id']}", {"unit": "USD"}).json()
        assert api.get(path).json()["items"] == [changed]
        assert api.send("DELETE", f"{path}/{made.json()['id']}").status_code == 204

    def test_a_wrong_expression_is_a_sentence_with_its_place(self, model: Model) -> None:
        answer = caller("bank").post(
            "/models/approvals/custom-metrics", {"name": "a", "expression": "share(region == 3)"}
        )

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/expression"
        assert "region is a text and 3.0 a number" in answer.json()["errors"][0]["detail"]


class TestPages:
    ADDRESS = "/models/approvals/custom-metrics"

    def test_previews_defines_and_deletes_once_that_is_confirmed(
        self, client: PagesClient, model: Model
    ) -> None:
        sent = {"name": "income", "expression": "mean(income)", "unit": "EUR"}

        preview = markup(client.post(self.ADDRESS, sent | {"do": "preview"}))
        client.post(self.ADDRESS, sent | {"do": "save"})
        work(model)
        custom = model.custom_metrics.get()
        shown = markup(
            client.get(f"{self.ADDRESS}/{custom.pk}?from=2026-01-05T00:00:00Z&to=2026-01-06T00:00:00Z")
        )
        question = markup(client.get(f"{self.ADDRESS}/{custom.pk}/delete"))
        client.post(f"{self.ADDRESS}/{custom.pk}", {"do": "delete"})

        assert "Over 300 rows from" in preview
        assert "of 270 rows that count; 30 rows lack a value and are left out." in preview
        assert "No rule watches it." in shown
        assert "Nothing was measured in this range" not in shown
        assert "Its points are deleted" in question
        assert not model.custom_metrics.exists()

    def test_many_are_listed_with_their_newest_day_by_as_many_queries_as_one(
        self, client: PagesClient, model: Model
    ) -> None:
        def queries() -> int:
            with CaptureQueriesContext(connection) as asked:
                client.get(self.ADDRESS)
            return len(asked)

        define(model, "rows", "count()", unit="rows")
        queries()  # the first visit also notes that this member was here
        of_one = queries()
        define(model, "income", "mean(income)")
        define(model, "cost", COST)

        assert queries() == of_one
        shown = markup(client.get(self.ADDRESS))
        assert "300 rows" in shown
        assert "5 Jan 2026" in shown

    def test_the_preview_names_the_time_that_fits_where_seven_days_are_too_many(
        self, client: PagesClient, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, rows = make_model(project, "busy"), rows_of_a_day(DAY, 240)
        for begin in range(0, 240, 60):
            log(model, rows[begin : begin + 60])
        monkeypatch.setattr(
            "monitors.definitions.custom_metrics.preview.MAX_PREVIEW_ROWS",
            2 * MIN_COST,  # two of the chunks
        )

        answer = client.post(
            "/models/busy/custom-metrics", {"name": "rows", "expression": "count()", "do": "preview"}
        )

        assert "Over 120 rows from 5 Jan 2026 11:54 to 6 Jan 2026 00:00 it is 120" in markup(answer)

    def test_the_question_before_a_deletion_names_conditions_and_a_margin(
        self, client: PagesClient, project: Project, model: Model
    ) -> None:
        custom = define(model, "income", "mean(income)")
        condition = {
            "all": [
                {"metric": "count", "threshold": 1},
                {"metric": "custom", "feature": "income", "threshold": 1},
            ]
        }
        of_any = {"metric": "custom", "feature": "*", "threshold": 1}
        create_rule(project=project, model=model, actor="test", name="rich and busy", condition=condition)
        create_rule(project=project, model=model, actor="test", name="any of them", **of_any)
        configure_workflow(model=model, actor="test", gate={"margins": {"custom:income": 0.5}})

        shown = markup(client.get(f"{self.ADDRESS}/{custom.pk}"))
        question = markup(client.get(f"{self.ADDRESS}/{custom.pk}/delete"))

        assert "A rule watches the custom metric &#x27;income&#x27; (&#x27;rich and busy&#x27;);" in question
        assert "The gate of promotions has a margin for the custom metric &#x27;income&#x27;;" in question
        assert "any of them" not in question
        assert "Yes, delete it" not in question
        assert "The gate of promotions has a margin for it." in shown
        with pytest.raises(Problem, match=r"A rule watches .* The gate of promotions has a margin"):
            delete_metric(custom=custom, actor="test")

    def test_says_at_the_field_what_is_wrong(self, client: PagesClient, model: Model) -> None:
        answer = client.post(self.ADDRESS, {"name": "income", "expression": "mean(incom)"})

        assert answer.status_code == 422
        assert "did you mean &#x27;income&#x27;?" in markup(answer)
