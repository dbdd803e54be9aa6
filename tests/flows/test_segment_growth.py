"""Segments that grew: from rows and a reference to what was found, the API and the page."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from msgspec.structs import replace
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project
from driftline.base.periods import Period
from inference.registry.models import Model
from monitors.metrics.rows.segment_growth import Growth, find_growth
from monitors.metrics.rows.segment_search import do_search, growth_of, request_search
from monitors.metrics.store.models import SegmentSearch
from tests.driftline.api.conftest import caller
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, give_reference, log, make_model, rows_of_a_day, work

A_DAY = timedelta(days=1)
WINDOW = Period(DAY, DAY + 2 * A_DAY)


pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def home() -> None:
    """Stay in the home of the test run, where the file of the module's reference lies."""


@pytest.fixture(scope="module")
def owner(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[User]:
    """The owner of the project, stored once with all that is made of it."""
    with rows_of_many_tests(django_db_blocker):
        yield User.objects.create_user("owner@bank.example")


@pytest.fixture(scope="module")
def project(owner: User) -> Project:
    return create_project(slug="bank", name="Bank", owner=owner)


@pytest.fixture(scope="module")
def grown_model(project: Project) -> Model:
    """Two days on which most rows are of the south, beside a reference of ten days on which half are; no label yet."""
    model = make_model(project)
    fill(model, mostly="south")
    give_reference(model, days=10)
    return model


@pytest.fixture
def model(grown_model: Model) -> Model:
    return Model.objects.get(pk=grown_model.pk)


def fill(model: Model, *, mostly: str = "", first: int = 0) -> None:
    """Log two days; where the region is to be `mostly` one, two of three rows are moved there."""
    for number in (first, first + 1):
        rows = rows_of_a_day(DAY + number * A_DAY, 600)
        log(
            model,
            [
                replace(row, features=row.features | {"region": mostly}) if mostly and place % 3 else row
                for place, row in enumerate(rows)
            ],
        )
    work(model)


def search(model: Model) -> SegmentSearch:
    asked = request_search(model=model, window=WINDOW, loss="", actor="test")
    do_search(asked.pk)
    asked.refresh_from_db()
    return asked


def growth(model: Model) -> Growth:
    found = growth_of(search(model))
    assert found is not None
    return found


class TestSearch:
    def test_names_the_region_that_grew_against_the_reference(self, model: Model) -> None:
        found = growth(model)

        (south,) = found.found.found
        assert south.name == "region = south"
        assert south.share == pytest.approx(5 / 6, abs=0.05)
        assert south.usual == pytest.approx(1 / 2, abs=0.05)
        assert 0 < south.lower < south.excess < south.upper
        assert (found.found.n, found.n_usual) == (1_200, 4_000)
        assert found.usual == f"the file of reference {model.references.get().pk}"

    def test_says_so_where_nothing_grew(self, project: Project) -> None:
        quiet = make_model(project, "quiet")
        fill(quiet)
        give_reference(quiet, days=10)

        found = growth(quiet)

        assert found.found.found == ()
        assert found.found.tried > 10

    def test_compares_with_the_weeks_before_where_there_is_no_file(self, project: Project) -> None:
        young = make_model(project, "young")
        for first in (-8, -6, -4, -2):
            fill(young, first=first)
        fill(young, mostly="north")

        found = growth(young)

        assert [one.name for one in found.found.found] == ["region = north"]
        assert (found.n_usual, found.usual) == (4_800, "the four weeks before")

    def test_of_a_model_without_a_past_says_so(self, project: Project) -> None:
        newborn = make_model(project, "newborn")
        fill(newborn)

        found = growth(newborn)

        assert (found.found.found, found.found.n, found.n_usual) == ((), 1_200, 0)

    def test_leaves_out_what_the_day_gives_away(self, project: Project) -> None:
        dated = make_model(project, "dated")
        for number in (-2, -1, 0, 1):
            day = DAY + number * A_DAY
            rows = rows_of_a_day(day, 400)
            log(dated, [replace(row, features=row.features | {"date": f"{day:%d}"}) for row in rows])
        work(dated)

        assert find_growth(model=dated, window=WINDOW).found.found == ()

    def test_begins_with_the_day_on_which_rows_became_others(self, project: Project) -> None:
        changed = make_model(project, "changed")
        for first in (0, 2, 4):
            fill(changed, first=first)
        fill(changed, first=6, mostly="south")
        give_reference(changed, days=10)

        found = find_growth(model=changed, window=Period(DAY, DAY + 8 * A_DAY))

        assert found.onset == DAY + 6 * A_DAY
        assert [one.name for one in found.found.found] == ["region = south"]
        assert found.found.found[0].share == pytest.approx(5 / 6, abs=0.05)

    def test_is_made_again_for_another_reference(self, model: Model) -> None:
        done = search(model)
        again = request_search(model=model, window=WINDOW, loss="", actor="test")
        assert (again.pk, again.state) == (done.pk, "ready")

        give_reference_again(model)

        again = request_search(model=model, window=WINDOW, loss="", actor="test")
        assert (again.pk, again.state) == (done.pk, "queued")


def give_reference_again(model: Model) -> None:
    model.references.all().delete()
    give_reference(model, days=8)


class TestApi:
    def test_searches_by_drift(self, model: Model) -> None:
        api, path = caller("bank"), "/models/approvals/segment-searches"
        asked = {"from": "2026-01-05T00:00:00Z", "to": "2026-01-07T00:00:00Z", "by": "drift"}

        made = api.post(path, asked)
        do_search(made.json()["id"])
        told = api.get(f"{path}/{made.json()['id']}").json()

        assert made.status_code == 202
        assert (told["by"], told["loss"], told["state"], told["n_usual"]) == ("drift", None, "ready", 4_000)
        assert [(one["name"], one["segment"]) for one in told["items"]] == [
            ("region = south", "region:south")
        ]
        refused = api.post(path, asked | {"loss": "log_loss"})
        assert refused.json()["errors"][0]["pointer"] == "/loss"


class TestPage:
    DRIFT = "/models/approvals/drift?from=2026-01-05&to=2026-01-06"
    SEARCHES = "/models/approvals/segment-searches?from=2026-01-05&to=2026-01-06&by=drift"

    def test_asks_for_a_search_shows_what_it_found_and_declares_it(self, owner: User, model: Model) -> None:
        client = PagesClient()
        client.force_login(owner)
        assert "This range was not searched yet" in markup(client.get(self.DRIFT))

        client.post(self.SEARCHES)
        assert "Waits for a worker since" in markup(client.get(self.DRIFT))
        do_search(SegmentSearch.objects.get().pk)
        assert "region = south" in markup(client.get(f"{self.SEARCHES}&part=segments"))
        client.post(self.SEARCHES, {"watch": "region = south"})

        assert [str(one) for one in model.segments.get().parsed] == ["region = south"]
        assert "<small>watched</small>" in markup(client.get(self.DRIFT))
        performance = markup(client.get(self.DRIFT.replace("drift", "performance")))
        assert "was not searched yet" in performance
