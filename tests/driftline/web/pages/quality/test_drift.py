"""The drift of a model: what decided, by how much and how surely, and what changed in words, the same on each page."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client, override_settings
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project
from driftline.web.pages import queries, verdict
from inference.registry.models import Model
from monitors.metrics.store.models import MetricPoint
from tests.markup import markup
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, give_reference, log, make_model, rows_of_a_day, work
from tests.worlds.points import change_points, store_points

A_DAY = timedelta(days=1)
LAST = DAY + 2 * A_DAY
RANGE = "from=2026-01-05&to=2026-01-07"


@pytest.fixture(scope="module")
def moved(
    project: Project, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The key of a model with two quiet days and one on which income moved."""
    with rows_of_many_tests(django_db_blocker), override_settings(HOME=tmp_path_factory.mktemp("home")):
        model = make_model(project)
        give_reference(model)
        for number in range(3):
            log(model, rows_of_a_day(DAY + number * A_DAY, 300, shift=2.0 if number == 2 else 0.0))
        work(model)
        yield model.pk


@pytest.fixture
def model(moved: int, db: None) -> Model:
    return Model.objects.get(pk=moved)


@pytest.fixture
def decided(model: Model) -> MetricPoint:
    """The point of the statistic that decided over income on its last day."""
    return queries.decisions_in(model, LAST, LAST + A_DAY, feature="income").get()


def page_of(client: Client, address: str) -> str:
    return markup(client.get(f"/models/approvals/{address}"))


class TestTheDecision:
    def test_is_one_of_each_feature_and_window(self, model: Model) -> None:
        points = list(queries.decisions_in(model, DAY, LAST + A_DAY))

        assert len(points) == len({(point.feature, point.start) for point in points})
        assert {"income", "region"} <= {point.feature for point in points}

    def test_gives_the_heat_map_its_numbers_and_colours(
        self, client: Client, model: Model, decided: MetricPoint
    ) -> None:
        page = page_of(client, f"drift?{RANGE}")

        times = (decided.value or 0) / (decided.threshold or 1)
        cell = re.search(r'<td class="c (\w+)" title="(income, 7 Jan, [^"]*)">.*?>([\d.]+)</a>', page)
        assert cell is not None
        assert cell[1] == ("d3" if times > 4 else "d2" if times > 2 else "d1")
        assert float(cell[3]) == pytest.approx(times, rel=0.05)
        assert f"{times:.1f} times its limit, p &lt; 0.0001, drifted" in cell[2]

    def test_is_never_pale_where_the_feature_drifted(self, client: Client, model: Model) -> None:
        psi = MetricPoint.objects.filter(model=model, metric="psi", feature="income", span="day", start=LAST)
        change_points(psi, value=0.001)

        page = page_of(client, f"drift?{RANGE}")

        [look] = re.findall(r'<td class="c (\w+)" title="income, 7 Jan', page)
        assert look in ("d1", "d2", "d3")

    def test_is_said_with_what_changed_on_the_page_of_the_feature(
        self, client: Client, model: Model, decided: MetricPoint
    ) -> None:
        page = page_of(client, f"features/income?{RANGE}")

        said = page.split('<p class="verdict warning">')[1].split("</p>")[0]
        assert re.match(r"income drifted on 7 Jan 2026: median -?[\d.]+ → 2[\d.]*\. ", said)
        assert f"{(decided.value or 0) / (decided.threshold or 1):.1f} times its limit, p &lt; 0.0001" in said

    def test_is_the_same_on_the_page_of_the_model(
        self, client: Client, model: Model, decided: MetricPoint
    ) -> None:
        page = page_of(client, f"?{RANGE}")

        times = f"{(decided.value or 0) / (decided.threshold or 1):.1f} times its limit, p &lt; 0.0001"
        assert times in page.split("<h3>Drift")[1].split("</a>")[0]
        assert "p &lt; 0.0001" in page.split("Most drifted features")[1].split("</section>")[0]

    def test_is_given_as_csv(self, client: Client, model: Model, decided: MetricPoint) -> None:
        answer = client.get(f"/models/approvals/data.csv?metric=decision&feature=income&{RANGE}")

        lines = answer.content.decode().splitlines()
        assert len(lines) == 4
        assert f",{decided.metric},income," in lines[3]

    @pytest.mark.slow
    def test_leaves_windows_of_few_rows_undecided(self, client: Client, model: Model) -> None:
        log(model, rows_of_a_day(LAST + A_DAY, 7))
        work(model)

        page = page_of(client, "drift?from=2026-01-05&to=2026-01-08")

        assert "income, 8 Jan, only 7 rows" in page


class TestWindowsThatCannotTell:
    @pytest.fixture
    def page(self, client: Client, model: Model) -> str:
        self.untell(model)
        return page_of(client, f"drift?{RANGE}")

    def untell(self, model: Model) -> None:
        points = MetricPoint.objects.filter(
            model=model, feature="region", span="day", start=LAST, measure="drift"
        )
        for point in points:
            detail = (point.detail or {}) | {"advice": "Judge longer windows, such as weeks."}
            change_points([point], status="not_informative", detail=detail)

    def test_are_grey(self, page: str) -> None:
        assert '<td class="c unsure" title="region, 7 Jan' in page
        assert "not informative" in page

    @pytest.mark.slow
    def test_offer_what_would_tell(self, page: str) -> None:
        offer = page.split("<strong>region</strong>")[1].split("</p>")[0]
        assert "Judge longer windows, such as weeks." in offer
        assert "/models/approvals/reference" in offer
        assert "/models/approvals/rules#windows" in offer

    def test_offer_it_on_the_page_of_the_feature_too(self, client: Client, model: Model) -> None:
        self.untell(model)

        page = page_of(client, f"features/region?{RANGE}")

        assert "region cannot be judged on 7 Jan 2026" in page
        assert '<p class="verdict no_data">' in page
        assert "/models/approvals/rules#windows" in page


class TestAllRight:
    """A model is said to be all right where it has a reference and a rule, and everything was within its limits."""

    def test_is_not_said_of_a_model_without_a_rule(self, model: Model) -> None:
        back_to_normal(model)

        said = verdict.of_model(model).text

        assert "all right" not in said
        assert said.startswith("No rule watches approvals v1.")

    def test_is_not_said_where_metrics_of_performance_are_beyond_their_limits(self, model: Model) -> None:
        back_to_normal(model)
        store_loss(model)

        statement = verdict.of_model(model)

        said = statement.text
        assert statement.status == "notice"
        assert "No rule fires on approvals v1, but 1 of 1 metrics of its performance are beyond" in said

    def test_counts_the_metrics_that_it_does_not_name(self, model: Model) -> None:
        back_to_normal(model)
        store_loss(model, "accuracy", "precision", "recall")

        said = verdict.of_model(model).text

        assert (
            "3 of 3 metrics of its performance are beyond their limits: Accuracy, Precision and 1 more."
            in said
        )


def back_to_normal(model: Model) -> None:
    points = MetricPoint.objects.filter(model=model, status__in=("warning", "critical"))
    change_points(points, status="ok")


def store_loss(model: Model, *metrics: str) -> None:
    """Store metrics of performance, accuracy where none is named, beyond their limits on the last day."""
    store_points(
        *(
            MetricPoint(
                model=model, metric=metric, span="day", start=LAST, role="champion", value=0.4, n=300,
                status="warning", threshold=0.8,
            )
            for metric in metrics or ("accuracy",)
        )
    )  # fmt: skip
