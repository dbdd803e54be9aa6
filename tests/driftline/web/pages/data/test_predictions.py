"""The page of predictions: what it shows, what it says where there is nothing, and the trace that looking leaves."""

import html
import re
from typing import Any

import msgspec
import pytest
from django.test import Client

from driftline.base.accounts.models import AuditEntry
from inference.prediction_log.items import LabelItem
from inference.prediction_log.queries import exploring
from inference.registry.models import Model
from monitors.summaries.uploads.models import SummaryBatch
from tests.markup import markup
from tests.worlds.approvals import DAY, label, log, rows_of_a_day, truths

PATH = "/p/bank/models/approvals/predictions"


@pytest.fixture
def rows(model: Model) -> list[Any]:
    rows = rows_of_a_day(DAY, 120)
    log(model, rows)
    label(model, truths(rows)[:60])
    return rows


def text_of(client: Client, path: str = PATH) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.content
    return markup(answer)


def ids_on(page: str) -> list[str]:
    return re.findall(r'<th scope="row"><a [^>]*><code>([^<]+)</code>', page)


def older_url(page: str) -> str:
    found = re.search(r'<a href="([^"]+)">older →', page)
    assert found is not None
    return html.unescape(found[1])


@pytest.mark.slow
def test_older_pages_follow_until_the_log_ends(client: Client, rows: list[Any]) -> None:
    found, page = [], text_of(client)
    while "older →" in page:
        found += ids_on(page)
        page = text_of(client, PATH + older_url(page))
    found += ids_on(page)

    assert found == [row.id for row in reversed(rows)]
    assert "There are no older ones" in page


def test_filters_stay_in_the_address_and_can_be_taken_away(client: Client, rows: list[Any]) -> None:
    page = text_of(client, f"{PATH}?segment=region:north&labelled=true")

    wanted = [row.id for row in rows[:60] if row.features["region"] == "north"]
    assert ids_on(page) == wanted[::-1]
    assert 'href="?labelled=true"' in page
    assert 'href="?segment=region%3Anorth"' in page


def test_right_and_wrong_answers_are_marked(client: Client, rows: list[Any]) -> None:
    page = text_of(client, f"{PATH}?correct=false")

    assert len(ids_on(page)) > 0
    assert page.count("</svg>wrong") == len(ids_on(page))
    assert "</svg>right" not in page


def test_a_chosen_range_is_kept_from_the_other_tabs(client: Client, rows: list[Any]) -> None:
    page = text_of(client, f"{PATH}?from=2026-01-06&to=2026-01-07")

    assert ids_on(page) == []
    assert "No prediction of this model fits" in page
    assert "Show all" in page


@pytest.mark.slow
def test_looking_leaves_a_trace_and_finding_nothing_leaves_none(client: Client, rows: list[Any]) -> None:
    text_of(client, f"{PATH}?segment=region:west")
    text_of(client, f"{PATH}?labelled=false")
    text_of(client, f"{PATH}/{rows[0].id}")

    traces = AuditEntry.objects.filter(action="predictions.view").order_by("pk")
    assert list(traces.values_list("actor", "subject", "after")) == [
        ("owner@bank.example", "approvals", {"filters": {"labelled": "false"}, "rows": 50}),
        ("owner@bank.example", "approvals", {"id": rows[0].id}),
    ]


def test_a_long_search_says_how_far_it_came(
    client: Client, rows: list[Any], monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    log(model, rows_of_a_day(DAY.replace(day=4), 5))
    monkeypatch.setattr(exploring, "MAX_ROWS", 1)
    monkeypatch.setattr(exploring, "_GROUP_ROWS", 1)

    page = text_of(client, f"{PATH}?segment=region:west")

    assert "Nothing fits among the newest" in page
    assert "4 Jan 2026" in page
    assert "look further back →" in page


def test_an_empty_log_says_what_to_do_next(client: Client, model: Model) -> None:
    page = text_of(client)

    assert "No prediction of this model is in the log yet" in page
    assert 'href="/p/bank/start/?model=approvals"' in page
    assert 'href="/p/bank/models/approvals/import"' in page


def test_a_log_of_summaries_alone_says_how_many_rows_they_are_of(client: Client, model: Model) -> None:
    SummaryBatch.objects.create(
        model=model, name="a", sha256="0" * 64, windows=24, rows=1_200_000, added_by="spark"
    )

    page = text_of(client)

    assert "1,200,000 predictions were summarised elsewhere" in page


def test_what_did_not_get_in_is_counted(client: Client, model: Model, rows: list[Any]) -> None:
    label(model, [LabelItem(id="nobody", label="1", timestamp=None)])

    page = text_of(client)

    assert "1 wait for their prediction" in page
    assert "None was refused" in page


@pytest.mark.parametrize(
    "query", ["role=king", "score_min=much", "from=yesterday", "version=%00", "cursor=x"]
)
def test_what_means_nothing_is_explained(client: Client, model: Model, query: str) -> None:
    answer = client.get(f"{PATH}?{query}")

    assert answer.status_code == 400
    assert b"verdict" in answer.content or b"problem" in answer.content


def test_a_name_from_outside_is_shown_as_text(client: Client, model: Model) -> None:
    [row] = rows_of_a_day(DAY, 1)
    hostile = '<script>alert("1")</script>'
    log(model, [msgspec.structs.replace(row, id=hostile)])

    assert hostile not in text_of(client)


@pytest.mark.parametrize("page", ["import", "predictions", "predictions/20260105-0"])
def test_the_tab_of_predictions_is_lit(client: Client, rows: list[Any], page: str) -> None:
    tabs = re.findall(
        r'<a href="([^"?]+)[^"]*" aria-current="page"', text_of(client, f"/models/approvals/{page}")
    )

    assert PATH in tabs
