"""The page Background work and its command: what was given up, with the reason, tried again or dismissed."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.errors import Problem
from driftline.base.work.attempts import MAX_ATTEMPTS
from driftline.operations import given_up
from inference.registry.models import Model
from monitors.metrics.store.models import SegmentSearch
from tests.markup import markup
from tests.worlds.approvals import DAY, make_model

PATH = "/settings/background"
REASON = "Its worker died 3 times"


def make_search(model: Model, **values: object) -> SegmentSearch:
    return SegmentSearch.objects.create(
        model=model, start=DAY, end=DAY + timedelta(days=1), requested_by="ada", **values
    )


@pytest.fixture
def search(model: Model) -> SegmentSearch:
    return make_search(model, state="failed", attempts=MAX_ATTEMPTS, error=REASON, finished_at=timezone.now())


def test_says_that_nothing_was_given_up(client: Client, model: Model) -> None:
    assert "Nothing was given up" in markup(client.get(PATH))


def test_shows_what_was_given_up_with_its_reason(client: Client, search: SegmentSearch) -> None:
    page = markup(client.get(PATH))

    assert REASON in page
    assert f"segment search {search.pk}" in page


def test_shows_what_waits_for_too_long(client: Client, model: Model) -> None:
    make_search(model, touched_at=timezone.now() - timedelta(hours=2))

    assert "This has waited for longer than an hour" in markup(client.get(PATH))


def test_begins_it_afresh(client: Client, search: SegmentSearch) -> None:
    client.post(PATH, {"work": f"segment search-{search.pk}", "do": "retry"})

    search.refresh_from_db()
    assert (search.state, search.attempts, search.error) == ("queued", 0, "")
    assert AuditEntry.objects.filter(action="work.retry", actor="owner@bank.example").exists()


def test_dismisses_it(client: Client, search: SegmentSearch) -> None:
    client.post(PATH, {"work": f"segment search-{search.pk}", "do": "dismiss"})

    search.refresh_from_db()
    assert search.state == "failed"
    assert given_up.given_up() == []


@pytest.mark.slow
def test_hides_and_refuses_what_another_project_has(client: Client, model: Model) -> None:
    stranger = Project.objects.create(slug="stranger", name="Stranger")
    theirs = make_search(
        make_model(stranger), state="failed", attempts=MAX_ATTEMPTS, error=REASON, finished_at=timezone.now()
    )

    shown = markup(client.get(PATH))
    answer = client.post(PATH, {"work": f"segment search-{theirs.pk}", "do": "retry"})

    theirs.refresh_from_db()
    assert REASON not in shown
    assert (answer.status_code, theirs.state) == (404, "failed")


@pytest.mark.parametrize("work", ["", "search", "segment search-", "segment search-x"])
def test_asks_for_work_where_none_is_named(client: Client, model: Model, work: str) -> None:
    answer = client.post(PATH, {"work": work, "do": "retry"}, follow=True)

    assert "Choose work that was given up" in markup(answer)


def test_knows_no_work_of_another_kind(client: Client, model: Model) -> None:
    assert client.post(PATH, {"work": "no such-1", "do": "retry"}).status_code == 404


class TestTheCommand:
    def test_lists_and_begins_afresh(self, search: SegmentSearch) -> None:
        listed, done = StringIO(), StringIO()
        call_command("retry_work", stdout=listed)
        call_command("retry_work", "segment search", str(search.pk), stdout=done)

        search.refresh_from_db()
        assert f"segment search {search.pk}" in listed.getvalue()
        assert REASON in listed.getvalue()
        assert "1 of 1 given up pieces of work queued again." in done.getvalue()
        assert search.state == "queued"
        assert AuditEntry.objects.get(action="work.retry").actor == "command line"

    def test_refuses_what_was_not_given_up(self, search: SegmentSearch) -> None:
        with pytest.raises(CommandError, match="No report 7 was given up"):
            call_command("retry_work", "report", "7")

    def test_is_for_all_at_once_too(self, search: SegmentSearch) -> None:
        call_command("retry_work", "--all", "--dismiss", stdout=StringIO())

        assert given_up.given_up() == []


def test_retry_is_for_what_was_given_up_alone(model: Model) -> None:
    search = make_search(model)

    with pytest.raises(Problem):
        given_up.retry(kind="segment search", id=search.pk, actor="ada")
