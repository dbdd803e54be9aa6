"""Custom metrics: what they come to over rows, labels, corrections and erased rows, who watches them, what is refused."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from msgspec.structs import replace
from pytest_django import DjangoDbBlocker

from driftline.accounts.models import AuditEntry, Project, User
from driftline.accounts.services import create_project
from driftline.common.errors import Problem
from inference.prediction_log.items import LabelItem
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model, RowsKept
from inference.registry.services import update_model
from monitors.definitions.custom_metrics.services import change_metric, define_metric, delete_metric
from monitors.definitions.models import CustomMetric
from monitors.definitions.segments import set_segments
from monitors.metrics.models import MetricPoint
from monitors.rules.models import Transition
from monitors.rules.services import create_rule
from monitors.summaries.checking import compare_with_rows
from monitors.summaries.services import rebuild_model
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths, work

pytestmark = pytest.mark.django_db

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


def define(model: Model, name: str, expression: str, **fields: object) -> CustomMetric:
    custom = define_metric(model=model, name=name, expression=expression, actor="test", **fields)  # type: ignore[arg-type]
    work(model)
    return custom


def point_of(custom: CustomMetric, *, segment: str = "", span: str = "day") -> MetricPoint:
    return MetricPoint.objects.filter(
        model=custom.model, metric=custom.metric, feature=custom.name, segment=segment, span=span,
        role="champion", version="",
    ).get(start=DAY)  # fmt: skip


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
        assert (point.n, point.detail["left_out"], point.status) == (270, 30, "ok")
        assert point.lower < point.value < point.upper

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
        assert "40 of 100 rows" in point.detail["why"]
