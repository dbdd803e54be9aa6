"""Segments that got worse: from labelled rows to what was found, an incident's causes, the API and the page."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.test import Client
from msgspec.structs import replace
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project
from driftline.base.errors import Problem
from driftline.base.periods import Period
from inference.prediction_log.items import LabelItem
from inference.registry.models import Model, RowsKept
from inference.registry.services import create_model, update_model
from monitors.metrics.explaining.causes import rank_causes
from monitors.metrics.rows.segment_search import do_search, findings_of, request_search
from monitors.metrics.store.models import SegmentSearch
from monitors.rules.models import Rule, Transition
from monitors.rules.services import create_rule
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths, work

pytestmark = pytest.mark.slow

A_DAY = timedelta(days=1)
WINDOW = Period(DAY, DAY + 2 * A_DAY)


@pytest.fixture(scope="module")
def owner(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[User]:
    with rows_of_many_tests(django_db_blocker):
        yield User.objects.create_user("owner@bank.example")


@pytest.fixture(scope="module")
def project(owner: User) -> Project:
    return create_project(slug="bank", name="Bank", owner=owner)


@pytest.fixture(scope="module")
def approvals(project: Project) -> Model:
    """Two days as usual, and two on which the south got worse."""
    model = make_model(project)
    for number in (-2, -1):
        send(model, DAY + number * A_DAY)
    for number in (0, 1):
        send(model, DAY + number * A_DAY, wrong="south")
    work(model)
    return model


@pytest.fixture
def model(approvals: Model, db: None) -> Model:
    return approvals


@pytest.fixture
def client(owner: User, db: None) -> Client:
    client = PagesClient()
    client.force_login(owner)
    return client


def send(model: Model, day: datetime, *, wrong: str = "", n: int = 400) -> None:
    """Send a labelled day; where the region is `wrong`, every other row happens the other way round."""
    rows = rows_of_a_day(day, n)
    labels = [
        replace(told, label=str(1 - int(told.label)))
        if row.features["region"] == wrong and number % 2
        else told
        for number, (row, told) in enumerate(zip(rows, truths(rows), strict=True))
    ]
    log(model, rows)
    label(model, labels)


def search(model: Model, loss: str = "log_loss") -> SegmentSearch:
    asked = request_search(model=model, window=WINDOW, loss=loss, actor="test")
    do_search(asked.pk)
    asked.refresh_from_db()
    return asked


class TestSearch:
    def test_names_the_region_that_got_worse_against_the_weeks_before(self, model: Model) -> None:
        findings = findings_of(search(model))

        assert findings is not None
        (found,) = findings.found.found
        assert found.name == "region = south"
        assert (findings.found.n, findings.n_before) == (800, 800)
        assert found.lower > 0
        assert found.share == pytest.approx(1, abs=0.1)

    @pytest.mark.parametrize("loss", ["wrong_share", "brier"])
    def test_is_by_other_losses_too(self, model: Model, loss: str) -> None:
        findings = findings_of(search(model, loss))

        assert findings is not None
        assert [one.name for one in findings.found.found] == ["region = south"]

    def test_says_so_where_there_is_nothing(self, project: Project, db: None) -> None:
        quiet = make_model(project, "quiet")
        for number in range(-2, 2):
            send(quiet, DAY + number * A_DAY)

        findings = findings_of(search(quiet))

        assert findings is not None
        assert findings.found.found == ()
        assert findings.found.tried > 10

    def test_of_a_few_days_leaves_out_what_the_day_gives_away(self, project: Project, db: None) -> None:
        shop = make_model(project, "shop")
        for number in range(-2, 2):
            day = DAY + number * A_DAY
            rows = rows_of_a_day(day, 400)
            log(shop, [replace(row, features=row.features | {"weekday": f"{day:%a}"}) for row in rows])
            label(shop, [replace(told, label="1") for told in truths(rows)] if number == 1 else truths(rows))

        findings = findings_of(search(shop))

        assert findings is not None
        assert findings.columns == 2
        assert not any("weekday" in one.name for one in findings.found.found)

    def test_of_a_large_period_reads_a_part_of_its_rows(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("monitors.metrics.rows.segment_rows.MAX_READ_ROWS", 500)
        monkeypatch.setattr("monitors.metrics.rows.segment_rows.MAX_ROWS", 300)

        findings = findings_of(search(model))

        assert findings is not None
        assert findings.found.n == 300

    def test_is_made_again_only_for_other_rows_or_labels(self, model: Model) -> None:
        done = search(model)

        again = request_search(model=model, window=WINDOW, loss="log_loss", actor="test")
        assert (again.pk, again.state, do_search(again.pk)) == (done.pk, "ready", False)

        late = replace(rows_of_a_day(DAY, 1)[0], id="late")
        log(model, [late])
        label(model, [LabelItem(id="late", label="1", timestamp=None)])
        work(model)
        again = request_search(model=model, window=WINDOW, loss="log_loss", actor="test")
        assert (again.pk, again.state, do_search(again.pk)) == (done.pk, "queued", True)

    def test_tells_the_person_who_asked_when_it_fails(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise MemoryError("no room")

        monkeypatch.setattr("monitors.metrics.rows.segment_search.scored_rows", broken)
        asked = search(model)

        assert (asked.state, asked.error, asked.findings) == ("failed", "MemoryError: no room", None)

    def test_is_refused_without_rows_and_for_what_rows_do_not_lose(self, project: Project, db: None) -> None:
        model = create_model(project=project, name="spam", task="binary", actor="test")
        ranked = create_model(project=project, name="ranked", task="ranking", actor="test")
        with pytest.raises(Problem) as no_such_loss:
            request_search(model=model, window=WINDOW, loss="mae", actor="test")
        with pytest.raises(Problem) as no_row_loss:
            request_search(model=ranked, window=WINDOW, loss="mae", actor="test")
        update_model(model=model, actor="test", rows_kept=RowsKept.NONE)
        with pytest.raises(Problem) as rows_not_kept:
            request_search(model=model, window=WINDOW, loss="log_loss", actor="test")

        codes = [told.value.code for told in (no_such_loss, no_row_loss, rows_not_kept)]
        assert codes == ["invalid_parameter", "no_row_loss", "rows_not_kept"]
        assert not SegmentSearch.objects.exists()

    def test_is_by_how_far_numbers_are_off(self, project: Project, db: None) -> None:
        model = create_model(project=project, name="prices", task="regression", actor="test")
        for number in range(-2, 2):
            rows = rows_of_a_day(DAY + number * A_DAY, 400)
            off = [3.0 if number >= 0 and row.features["region"] == "south" else 1.0 for row in rows]
            log(model, [replace(row, prediction=10.0, probabilities=None) for row in rows])
            label(
                model,
                [
                    LabelItem(id=row.id, label=10.0 + by, timestamp=None)
                    for row, by in zip(rows, off, strict=True)
                ],
            )

        findings = findings_of(search(model, "mae"))

        assert findings is not None
        (found,) = findings.found.found
        assert (found.name, found.inside, found.outside) == ("region = south", 3.0, 1.0)


class TestCauses:
    def test_of_an_incident_of_performance_name_the_segment(self, project: Project, model: Model) -> None:
        rule: Rule = create_rule(
            project=project, model=model, actor="test", name="accuracy fell", metric="accuracy",
            operator="below", threshold=0.65, recover_windows=1, for_windows=1, notify_within=30 * A_DAY,
        )  # fmt: skip
        log(model, rows_of_a_day(DAY + 2 * A_DAY, 5))
        work(model)

        opened = Transition.objects.get(rule=rule, kind="opened", window_start=DAY)

        causes = [cause for cause in opened.detail["causes"] if cause["kind"] == "segment"]
        assert causes
        assert all("region = south" in cause["segment"] for cause in causes)
        assert all(0 < cause["score"] <= 1 for cause in causes)
        assert causes[0]["evidence"].startswith("share of wrong answers 0.")
        assert SegmentSearch.objects.get(start=DAY, loss="wrong_share").state == "ready"

    def test_are_told_without_it_where_the_search_fails(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise MemoryError("no room")

        monkeypatch.setattr("monitors.metrics.rows.segment_search.scored_rows", broken)

        assert rank_causes(model=model, start=DAY, end=DAY + A_DAY, metric="accuracy") == []


class TestPage:
    ADDRESS = "/models/approvals/segment-searches?from=2026-01-05&to=2026-01-06"

    def test_asks_for_a_search_and_shows_what_it_found(self, client: Client, model: Model) -> None:
        page = "/models/approvals/performance?from=2026-01-05&to=2026-01-06"
        assert "was not searched yet" in markup(client.get(page))

        client.post(self.ADDRESS, {"loss": "log_loss"})
        assert "Waits for a worker since" in markup(client.get(page))
        do_search(SegmentSearch.objects.get().pk)

        said = markup(client.get(page))
        assert "region = south" in said
        assert "Watch this segment" in said
        assert "800 rows of the four weeks before" in said

    def test_declares_what_was_found_at_one_press(self, client: Client, model: Model) -> None:
        search(model)

        client.post(f"{self.ADDRESS}&loss=log_loss", {"watch": "region = south"})

        assert [str(one) for one in model.segments.get().parsed] == ["region = south"]
        said = markup(client.get(f"{self.ADDRESS}&part=segments"))
        assert "Watch this segment" not in said
        assert "<small>watched</small>" in said
