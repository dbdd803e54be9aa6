"""A list of the admin shows one day, chosen above it or searched for, without reading the other days."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from driftline.base.accounts.models import AuditEntry, Project
from driftline.web.admin.days import of_day, read_day
from inference.registry.models import Model
from monitors.summaries.models import Summary
from tests.worlds.approvals import log, make_model, rows_of_a_day, work

pytestmark = pytest.mark.django_db

JUNE_15 = datetime(2026, 6, 15, tzinfo=UTC)
LIST = "admin:accounts_auditentry_changelist"


@pytest.fixture
def entries(operator: Client) -> None:
    """One entry at the end of each of three days."""
    for day in (14, 15, 16):
        AuditEntry.objects.create(
            actor="ada",
            action="rule.update",
            subject=f"rule of day {day}",
            at=datetime(2026, 6, day, 23, 59, tzinfo=UTC),
        )


@pytest.fixture
def model(operator: Client) -> Model:
    return make_model(Project.objects.create(slug="bank", name="Bank"))


def subjects(page: Any) -> list[str]:
    return [entry.subject for entry in page.context["cl"].result_list]


@pytest.mark.parametrize("query", [{"day": "2026-06-15"}, {"q": " 2026-06-15"}])
def test_a_day_is_chosen_or_searched_for(operator: Client, entries: None, query: dict[str, str]) -> None:
    assert subjects(operator.get(reverse(LIST), query)) == ["rule of day 15"]


def test_the_days_beside_it_are_one_click_away_and_keep_the_search(operator: Client, entries: None) -> None:
    page = operator.get(reverse(LIST), {"day": "2026-06-15", "q": "ada"})

    links = dict(page.context["cl"].days_nearby)
    assert subjects(operator.get(reverse(LIST) + links["← day before"])) == ["rule of day 14"]
    assert subjects(operator.get(reverse(LIST) + links["day after →"])) == ["rule of day 16"]
    assert len(subjects(operator.get(reverse(LIST) + links["all days"]))) == 3


def test_the_form_says_which_time_has_the_day(operator: Client) -> None:
    page = operator.get(reverse("admin:accounts_apitoken_changelist"))

    assert ">Day (UTC, last used)</label>" in page.content.decode()


def test_a_date_among_other_words_is_searched_for_as_it_is_written(operator: Client, entries: None) -> None:
    AuditEntry.objects.create(actor="ada", action="window.rebuild", subject="income day 2026-06-15 00:00")

    page = operator.get(reverse(LIST), {"q": "income 2026-06-15"})

    assert subjects(page) == ["income day 2026-06-15 00:00"]


@pytest.mark.parametrize("day", ["2026-06-31", "yesterday", "20260615", "9999-12-31", "0001-01-01"])
def test_a_day_that_cannot_be_read_is_named_above_the_whole_list(
    operator: Client, entries: None, day: str
) -> None:
    page = operator.get(reverse(LIST), {"day": day})

    assert f"&#x27;{day}&#x27; is no day such as 2026-06-15" in page.content.decode()
    assert len(subjects(page)) == 3
    assert not page.context["cl"].has_active_filters


def test_an_empty_day_is_no_filter(operator: Client, entries: None) -> None:
    page = operator.get(reverse(LIST), {"day": ""})

    assert (len(subjects(page)), page.context["cl"].has_active_filters) == (3, False)


def test_clearing_all_filters_clears_the_day_and_keeps_the_search(operator: Client, entries: None) -> None:
    page = operator.get(reverse(LIST), {"day": "2026-06-15", "action": "rule.update", "q": "ada"})

    cleared = operator.get(reverse(LIST) + page.context["cl"].clear_all_filters_qs)

    assert subjects(page) == ["rule of day 15"]
    assert (len(subjects(cleared)), cleared.context["cl"].query) == (3, "ada")


@pytest.mark.slow
def test_an_old_day_of_a_model_is_found_to_be_rebuilt(operator: Client, model: Model) -> None:
    log(model, rows_of_a_day(JUNE_15, 60))
    log(model, rows_of_a_day(JUNE_15 + timedelta(days=1), 60))
    work(model)
    [link] = [link for name, link in operator.get("/admin/").context["tasks"] if name == "Rebuild a day"]

    page = operator.get(f"{link}&day=2026-06-15&q={model.name}")

    starts = [(row.start, row.segment) for row in page.context["cl"].result_list]
    assert starts == [(JUNE_15, "")]


@pytest.mark.parametrize(
    ("rows", "column", "index"),
    [
        (Summary.objects.order_by("-start"), "start", "summaries_by_start"),
        (AuditEntry.objects.order_by("-at"), "at", "audit_by_time"),
    ],
)
def test_a_day_is_read_from_an_index(rows: Any, column: str, index: str) -> None:
    with connection.cursor() as cursor:
        # The tables of a test are so small that a scan or a sort may cost less than the index in order.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        plan = of_day(rows, column, JUNE_15.date())[:50].explain()

    assert index in plan
    assert "Sort" not in plan


def test_a_date_is_read_and_nothing_else() -> None:
    texts: Sequence[str] = ("2026-06-15", "2026-6-15", "2026-W24-1", "income", "")

    assert [read_day(text) for text in texts] == [JUNE_15.date(), None, None, None, None]
