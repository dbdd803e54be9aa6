"""Pages live below the address of their project; older addresses, and every link, lead there."""

import re

import pytest
from django.test import Client
from django.urls import URLResolver, get_resolver

from driftline.base.accounts.models import ApiToken, Membership, Project, Role, User
from driftline.base.accounts.services import create_project, create_token
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.alerts.models import Incident
from tests.worlds.every_kind import furnish

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(owner: User) -> Project:
    """A second project of the same person."""
    return create_project(slug="shop", name="Shop", owner=owner)


@pytest.fixture
def browser(owner: User, project: Project) -> Client:
    """A browser that opens what is typed, whatever the project."""
    browser = Client()
    browser.force_login(owner)
    return browser


def binary_model(project: Project, name: str) -> Model:
    return create_model(project=project, name=name, task="binary", actor="test")


def links_of(page: str) -> set[str]:
    return set(re.findall(r'(?:href|action|hx-get|hx-post|src)="(/[^"]*)"', page))


class TestAnAddressWithoutProject:
    def test_leads_to_the_project_that_has_the_model(self, browser: Client, shop: Project) -> None:
        binary_model(shop, "baskets")

        answer = browser.get("/models/baskets/drift?from=2026-01-05&to=2026-01-06")

        address = "/p/shop/models/baskets/drift?from=2026-01-05&to=2026-01-06"
        assert (answer.status_code, answer["Location"]) == (302, address)
        assert browser.get(address).status_code == 200

    def test_leads_to_the_project_that_was_seen_last_where_both_have_it(
        self, browser: Client, project: Project, shop: Project
    ) -> None:
        for one in (project, shop):
            binary_model(one, "scores")

        browser.get("/p/shop/models/scores/")

        assert browser.get("/models/scores/")["Location"] == "/p/shop/models/scores/"

    @pytest.mark.slow
    def test_leads_to_the_project_of_an_incident_and_of_a_token(self, browser: Client, shop: Project) -> None:
        furnish(shop)
        incident, token = Incident.objects.get(project=shop), ApiToken.objects.get(project=shop)

        opened = [
            browser.get(path, follow=True)
            for path in (f"/incidents/{incident.pk}", f"/settings/tokens/{token.pk}/revoke")
        ]

        assert [answer.status_code for answer in opened] == [200, 200]
        assert [answer.redirect_chain[-1][0] for answer in opened] == [
            f"/p/shop/incidents/{incident.pk}",
            f"/p/shop/settings/tokens/{token.pk}/revoke",
        ]

    def test_sends_a_form_on_to_where_it_belongs(self, browser: Client, shop: Project) -> None:
        form = {"do": "create", "name": "CI", "scopes": ["read"]}
        browser.get("/p/shop/")

        answer = browser.post("/settings/tokens", form, follow=True)

        assert answer.redirect_chain == [("/p/shop/settings/tokens", 307)]
        assert ApiToken.objects.get(name="CI").project == shop

    def test_never_leads_to_a_project_of_others(self, browser: Client, model: Model) -> None:
        stranger = User.objects.create_user("owner@elsewhere.example")
        binary_model(create_project(slug="elsewhere", name="Elsewhere", owner=stranger), "secret")

        answer = browser.get("/models/secret/", follow=True)

        assert (answer.status_code, answer.redirect_chain[-1][0]) == (404, "/p/bank/models/secret/")


class TestAnAddressWithProject:
    def test_of_others_looks_as_if_there_were_none(self, browser: Client) -> None:
        stranger = User.objects.create_user("owner@elsewhere.example")
        create_project(slug="elsewhere", name="Elsewhere", owner=stranger)

        theirs, nobodys = browser.get("/p/elsewhere/models/"), browser.get("/p/nothing/models/")

        assert (theirs.status_code, nobodys.status_code) == (404, 404)
        assert theirs.content == nobodys.content

    def test_asks_for_a_sign_in_that_leads_back(self) -> None:
        answer = Client().get("/p/bank/models/")

        assert answer["Location"] == "/accounts/login/?next=/p/bank/models/"

    @pytest.mark.slow
    def test_shows_its_project_whatever_another_tab_shows(
        self, browser: Client, model: Model, shop: Project
    ) -> None:
        binary_model(shop, "baskets")
        browser.get("/p/shop/models/")

        models = browser.get("/p/bank/models/").content.decode()
        browser.get("/p/shop/models/")
        exported = browser.get(f"/p/bank/api/v1/models/{model.name}")

        assert f"/p/bank/models/{model.name}/" in models
        assert "baskets" not in models
        assert exported.json()["name"] == model.name

    @pytest.mark.parametrize(
        "page", ["", "models/", "models/{name}/", "models/{name}/versions", "models/{name}/predictions"]
    )
    def test_links_to_its_own_project_only(
        self, browser: Client, model: Model, shop: Project, page: str
    ) -> None:
        shown = browser.get(f"/p/bank/{page.format(name=model.name)}").content.decode()

        outside = {
            link for link in links_of(shown) if not link.startswith(("/p/bank/", "/static/", "/accounts/"))
        }
        assert outside == {"/p/shop/", "/docs/", "/api/v1/docs"}

    @pytest.mark.slow
    def test_switches_by_a_link(self, browser: Client, model: Model, shop: Project) -> None:
        shown = browser.get("/p/bank/models/").content.decode()
        (switch,) = re.findall(r'<details class="project">(.*?)</details>', shown, re.DOTALL)

        assert re.findall(r'href="([^"]+)"', switch) == ["/p/bank/", "/p/shop/"]
        assert browser.get("/p/shop/", follow=True).status_code == 200

    def test_has_the_slash_that_a_page_needs(self, browser: Client, model: Model) -> None:
        assert browser.get("/p/bank")["Location"] == "/p/bank/"
        assert browser.get(f"/p/bank/models/{model.name}")["Location"] == f"/p/bank/models/{model.name}/"

    @pytest.mark.slow
    def test_holds_nothing_that_belongs_to_no_project(self, browser: Client) -> None:
        outside = [str(route.pattern) for route in get_resolver().url_patterns if not is_of_pages(route)]

        answers = {path: browser.get(f"/p/bank/{path}").status_code for path in outside if "<" not in path}

        assert answers.pop("api/v1/") in (200, 404)
        assert answers == dict.fromkeys(answers, 404)


def is_of_pages(route: object) -> bool:
    return isinstance(route, URLResolver) and str(route.pattern) == ""


class TestTheApiBelowAProject:
    def test_is_read_by_who_signed_in(self, browser: Client, model: Model, shop: Project) -> None:
        names = [
            [one["name"] for one in browser.get(f"/p/{slug}/api/v1/models").json()["items"]]
            for slug in ("bank", "shop")
        ]

        assert names == [[model.name], []]

    def test_does_not_exist_for_a_token_or_for_a_change(self, browser: Client, project: Project) -> None:
        _, token = create_token(project=project, name="t", scopes=["read"], actor="test")
        headers = {"Authorization": f"Bearer {token}"}

        answers = [
            Client().get("/p/bank/api/v1/models", headers=headers).status_code,
            browser.post("/p/bank/api/v1/models", {}, content_type="application/json").status_code,
        ]

        assert answers == [404, 404]

    def test_refuses_who_is_not_a_member(self, project: Project) -> None:
        guest = Client()
        guest.force_login(User.objects.create_user("guest@elsewhere.example"))

        answer = guest.get("/p/bank/api/v1/models")

        assert (answer.status_code, answer.json()["code"]) == (403, "no_project")


def test_a_viewer_of_one_project_may_be_the_admin_of_another(browser: Client, owner: User) -> None:
    other = create_project(slug="lab", name="Lab", owner=User.objects.create_user("lab@bank.example"))
    Membership.objects.create(project=other, user=owner, role=Role.VIEWER)

    roles = [browser.get(f"/p/{slug}/settings/tokens").content.decode() for slug in ("bank", "lab")]

    assert [
        f"<small>{role}</small>" in page for role, page in zip(("admin", "viewer"), roles, strict=True)
    ] == [
        True,
        True,
    ]
