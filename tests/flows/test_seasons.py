"""References of a year judge by seasons; where no limit tells, that is what is said."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from monitors.definitions.models import Reference
from monitors.definitions.services import build_reference
from monitors.metrics.selectors import drift_rows
from monitors.metrics.store.models import MetricPoint, NullDraws
from monitors.rules.services import create_rule
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, log, make_model, reference_csv, rows_of_a_day, work

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


def give_days(model: Model, days: list[list[SentPrediction]]) -> None:
    sent = [row for rows in days for row in rows]
    store_reference(
        model=model, version="1", stream=reference_csv(sent), content_type="text/csv", actor="test"
    )
    build_reference(Reference.objects.get(model=model).pk)


def psi_of_income(model: Model) -> Any:
    return MetricPoint.objects.get(
        model=model, metric="psi", feature="income", span="day", start=DAY, version=""
    )


@pytest.fixture(scope="module")
def seasonal(project: Project) -> Model:
    return make_seasonal(project, "seasonal")


def make_seasonal(project: Project, name: str) -> Model:
    model = make_model(project, name)
    levels = {back: float(1 - np.cos(2 * np.pi * back / 365.25)) for back in range(1, 401)}
    give_days(model, [rows_of_a_day(DAY - back * A_DAY, 20, shift=level) for back, level in levels.items()])
    return model


@pytest.fixture(scope="module")
def restless(project: Project) -> Model:
    model = make_model(project, "restless")
    levels = np.random.default_rng(0).normal(0, 30, 30).tolist()
    give_days(
        model, [day_of_its_own(DAY - back * A_DAY, 50, level) for back, level in enumerate(levels, start=1)]
    )
    log(model, day_of_its_own(DAY, 300, 0.0))
    work(model)
    return model


def day_of_its_own(start: datetime, rows: int, level: float) -> list[SentPrediction]:
    of_day = rows_of_a_day(start, rows, shift=level)
    return [replace(row, features=row.features | {"region": f"{start:%B %-d}"}) for row in of_day]


class TestAReferenceOfAYear:
    """Income follows the seasons: its middle is 2 deviations higher in July than in January."""

    def test_compares_a_day_of_winter_with_those_of_winter(self, seasonal: Model) -> None:
        log(seasonal, rows_of_a_day(DAY, 300))

        work(seasonal)

        quiet = psi_of_income(seasonal)
        assert quiet.status == "ok"
        assert "days within 8 weeks of 15 January" in quiet.detail["reference"]["part"]

    def test_finds_a_day_of_summer_in_winter(self, seasonal: Model) -> None:
        log(seasonal, rows_of_a_day(DAY, 300, shift=2.0))

        work(seasonal)

        assert psi_of_income(seasonal).status in ("warning", "critical")

    def test_draws_once_for_all_days_of_a_season(self, project: Project) -> None:
        model = make_seasonal(project, "never-drawn")
        for ahead in range(3):
            log(model, rows_of_a_day(DAY + ahead * A_DAY, 300))
        work(model)

        drawn = NullDraws.objects.filter(reference__model=model, column="income", days=1, size=262)

        assert drawn.count() == 1

    def test_shows_the_season_beside_the_day(self, seasonal: Model) -> None:
        log(seasonal, rows_of_a_day(DAY, 300))
        work(seasonal)

        reference = drift_rows(model=seasonal, start=DAY, end=DAY + A_DAY)["reference"]
        year = drift_rows(model=seasonal, start=DAY - 364 * A_DAY, end=DAY + A_DAY)["reference"]

        assert "15 January" in reference["part"]
        assert reference["rows"] < year["rows"] == 8000


class TestALimitThatIsTooWide:
    """Each day of the reference has an income and a region of its own, far from all others."""

    def test_is_neither_ok_nor_a_breach_and_says_what_would_tell(self, restless: Model) -> None:
        psi = psi_of_income(restless)

        assert psi.status == "not_informative"
        assert psi.value < psi.threshold
        assert "Not even a large effect would reach" in psi.detail["why"]
        assert "a reference of a year or more" in psi.detail["advice"]

    def test_names_a_feature_of_the_calendar_as_one(self, restless: Model) -> None:
        points = MetricPoint.objects.filter(
            model=restless, feature="region", span="day", status="not_informative"
        )

        assert {point.detail["advice"].split(",")[0] for point in points} == {
            "region holds a single value within a day"
        }

    def test_is_said_by_the_api(self, restless: Model) -> None:
        rows = drift_rows(model=restless, start=DAY, end=DAY + A_DAY)["items"]

        region = next(row for row in rows if row["feature"] == "region")
        assert region["decision"] == "not_informative"
        assert {said["status"] for said in region["statistics"].values()} == {"not_informative"}

    def test_is_judged_by_a_rule_with_a_limit_of_its_own(self, restless: Model) -> None:
        rule = create_rule(
            project=restless.project, model=restless, actor="test", name="income", metric="psi",
            feature="income", threshold=0.2,
        )  # fmt: skip
        log(restless, day_of_its_own(DAY + A_DAY, 300, 0.0))

        work(restless)

        assert rule.transitions.filter(kind="opened").exists()

    def test_is_grey_on_the_drift_page(self, owner: User, restless: Model, settings: Any) -> None:
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
        client = PagesClient()
        client.force_login(owner)
        asked = "from=2026-01-05&to=2026-01-06"

        heat_map = markup(client.get(f"/models/{restless.name}/drift?{asked}"))
        feature = markup(client.get(f"/models/{restless.name}/features/income?day=2026-01-05"))

        assert 'class="c unsure"' in heat_map
        assert "not informative" in heat_map
        assert "income cannot be judged" in feature
        assert "Not informative" in feature
