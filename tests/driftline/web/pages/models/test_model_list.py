"""The list of models: found, sorted, and changed many at once; and the overview, which says what needs somebody."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from msgspec.structs import replace

from driftline.base.accounts.models import AuditEntry, Project
from driftline.web.pages.models import model_list
from inference.registry.models import Model
from inference.registry.services import create_model
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day, work

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(project: Project, db: None) -> list[Model]:
    """Three models: one with data, and two without, of which one has an owner and tags."""
    described = {"description": "Who comes back?", "owner": "growth", "tags": ["crm", "team:growth"]}
    live = make_model(project, "approvals")
    log(live, rows_of_a_day(DAY, 10))
    churn = create_model(project=project, name="churn", task="binary", actor="test", **described)
    prices = create_model(project=project, name="prices", task="regression", actor="test", owner="sales")
    return [live, churn, prices]


def names_in(client: Client, query: str = "") -> list[str]:
    table = client.get(f"/models/{query}").content.decode().partition("<tbody>")[2].partition("</tbody>")[0]
    return re.findall(r'<a href="/p/bank/models/([\w-]+)/"', table)


class TestFinding:
    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("?search=chu", ["churn"]),
            ("?search=comes+back", ["churn"]),
            ("?search=growth", ["churn"]),
            ("?task=regression", ["prices"]),
            ("?owner=sales", ["prices"]),
            ("?tag=crm", ["churn"]),
            ("?tag=cr", []),
            ("?status=not_monitored&task=binary", ["approvals", "churn"]),
            ("?search=churn&owner=sales", []),
            ("?search=%00", ["approvals", "churn", "prices"]),
        ],
    )
    def test_leaves_what_all_filters_leave(
        self, fleet: list[Model], client: Client, query: str, found: list[str]
    ) -> None:
        assert names_in(client, query) == found

    def test_says_so_where_nothing_is_found(self, fleet: list[Model], client: Client) -> None:
        assert "No model is like this" in markup(client.get("/models/?search=nothing"))


class TestSorting:
    def test_puts_models_without_data_last(self, fleet: list[Model], client: Client) -> None:
        Model.objects.filter(name="approvals").update(name="zebras")

        assert names_in(client) == ["zebras", "churn", "prices"]

    @pytest.mark.parametrize(
        ("sort", "first"),
        [("name", "approvals"), ("-name", "prices"), ("newest", "approvals"), ("owner", "churn")],
    )
    def test_goes_by_the_column_that_was_chosen(
        self, fleet: list[Model], client: Client, sort: str, first: str
    ) -> None:
        assert names_in(client, f"?sort={sort}")[0] == first

    def test_turns_round_at_the_second_click_and_keeps_the_filters(
        self, fleet: list[Model], client: Client
    ) -> None:
        page = markup(client.get("/models/?task=binary&sort=name"))

        assert 'aria-sort="ascending"' in page
        assert "?task=binary&amp;sort=-name" in page
        assert "?task=binary&amp;sort=owner" in page


class TestChangingMany:
    def test_gives_the_default_rules_to_the_ticked_models(self, fleet: list[Model], client: Client) -> None:
        live, churn, _ = fleet

        said = markup(client.post("/models/", {"do": "rules", "model": [live.pk, churn.pk]}, follow=True))
        again = markup(client.post("/models/", {"do": "rules", "all": "1"}, follow=True))

        assert "default rules added to 2 models" in said
        assert "added to 1 model; 2 models had them" in again
        assert all(model.rules.exists() for model in fleet)

    def test_tags_all_that_are_found_and_leaves_a_trace(self, fleet: list[Model], client: Client) -> None:
        client.post("/models/?task=binary", {"do": "tag", "value": "eu crm", "all": "1"})
        client.post("/models/?task=binary", {"do": "untag", "value": "eu", "model": fleet[1].pk})

        assert [Model.objects.get(pk=model.pk).tags for model in fleet] == [
            ["crm", "eu"], ["crm", "team:growth"], [],
        ]  # fmt: skip
        changes = AuditEntry.objects.filter(action="model.update").order_by("pk")
        assert [(entry.subject, entry.after["tags"]) for entry in changes] == [
            ("approvals", ["crm", "eu"]), ("churn", ["crm", "eu", "team:growth"]), ("churn", ["crm", "team:growth"]),
        ]  # fmt: skip

    def test_sets_an_owner(self, fleet: list[Model], client: Client) -> None:
        said = markup(client.post("/models/", {"do": "owner", "value": "risk", "all": "1"}, follow=True))

        assert "3 models belong to risk" in said
        assert names_in(client, "?owner=risk") == ["approvals", "churn", "prices"]

    @pytest.mark.parametrize(
        ("form", "said"),
        [
            ({"do": "tag", "value": "eu"}, "Choose some models first"),
            ({"do": "tag", "value": "", "all": "1"}, "Write the tag"),
            ({"do": "tag", "value": 'a"b', "all": "1"}, "is not a tag"),
            ({"do": "nothing", "all": "1"}, "Choose what to do"),
        ],
    )
    def test_says_what_is_missing(
        self, fleet: list[Model], client: Client, form: dict[str, str], said: str
    ) -> None:
        assert said in markup(client.post("/models/", form, follow=True))
        assert not AuditEntry.objects.filter(action="model.update").exists()

    def test_takes_a_bounded_number(
        self, fleet: list[Model], client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model_list, "MAX_CHANGED_AT_ONCE", 2)

        page = markup(client.post("/models/", {"do": "tag", "value": "eu", "all": "1"}, follow=True))

        assert "3 models are chosen; narrow the list down to 2 at a time" in page

    def test_never_reaches_another_project(self, fleet: list[Model], client: Client) -> None:
        theirs = make_model(Project.objects.create(slug="theirs", name="Theirs"), "secret")

        client.post("/models/", {"do": "tag", "value": "mine", "model": theirs.pk})

        theirs.refresh_from_db()
        assert theirs.tags == []

    def test_is_not_offered_to_a_viewer(self, fleet: list[Model], project: Project) -> None:
        viewer = viewer_of(project)

        assert "Change the ticked models" not in markup(viewer.get("/models/"))
        assert viewer.post("/models/", {"do": "tag", "value": "eu", "all": "1"}).status_code == 403


def test_the_overview_counts_models_and_lists_those_alone_that_need_somebody(
    fleet: list[Model], client: Client
) -> None:
    page = markup(client.get("/"))

    assert 'href="/p/bank/models/?status=not_monitored"><strong>3</strong>' in page
    assert "No model needs anybody now" in page
    assert "/p/bank/models/churn/" not in page


def test_list_and_page_of_a_model_say_the_latency_of_the_same_day(client: Client, project: Project) -> None:
    """The list said that of a day with a few rows, the page that of the newest day with enough; neither named it."""
    model = make_model(project, "approvals")
    log(model, rows_of_a_day(DAY, 300))
    log(model, [replace(row, latency_ms=900.0) for row in rows_of_a_day(DAY + timedelta(days=1), 3)])
    work(model)

    listed, page = (markup(client.get(path)) for path in ("/models/", f"/models/{model.name}/"))

    assert re.search(r">2 ms <small><time[^>]*>5 Jan 2026</time></small>", listed)
    assert "p99 on 5 Jan, no limit set; p95 2.0 ms" in page
    assert "3 <small>so far</small>" in listed  # a day of a few hours stood there like a whole one
    assert "3 rows so far on 6 Jan" in page
    assert "900" not in listed
