"""Walks every URL of the resolver with every role against `route_matrix.py`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.access.scopes import Role, Scope
from driftline.base.accounts.models import ApiToken, Membership, Project, User
from driftline.base.accounts.services import create_project, create_token, revoke_token
from driftline.settings.environment import CHECKOUT
from driftline.web.documentation import views as documentation_views
from inference.prediction_log.imports.models import UploadedFile
from tests.driftline.api.described import assert_described
from tests.driftline.api.shape import assert_problem
from tests.driftline.route_matrix import ACCOUNTS, ADMIN, LINKS, PAGES, ROUTES, SCIM, Route
from tests.shared_rows import rows_of_many_tests
from tests.worlds.every_kind import World, furnish

pytestmark = pytest.mark.django_db

DOCUMENTATION = CHECKOUT / "docs"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


PAGE_ROUTES = [
    Route(method, path.removeprefix("/"), role)
    for method, path, role in (line.split() for line in PAGES.splitlines() if line)
]


def resolver_paths(patterns: list[Any] | None = None, prefix: str = "") -> Iterator[str]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from resolver_paths(pattern.url_patterns, path)
        else:
            assert isinstance(pattern, URLPattern)
            yield path


class People(NamedTuple):
    """Everybody who might call, each with a client and headers."""

    members: dict[str, Client]
    stranger: Client
    tokens: dict[str, str]
    stranger_token: str
    everything: str


@pytest.fixture(scope="module")
def shared_rows(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with rows_of_many_tests(django_db_blocker):
        yield


@pytest.fixture(scope="module")
def ours(shared_rows: None) -> Project:
    owner = User.objects.create_user("owner@ours.example")
    return create_project(slug="ours", name="Ours", owner=owner)


@pytest.fixture(scope="module")
def world(ours: Project) -> World:
    return furnish(ours)


@pytest.fixture(scope="module")
def people(ours: Project) -> People:
    outsider = User.objects.create_user("owner@theirs.example")
    theirs = create_project(slug="theirs", name="Theirs", owner=outsider)
    stranger = Client(raise_request_exception=False)
    stranger.force_login(outsider)
    members = {}
    for role in Role:
        user = User.objects.create_user(f"{role}@ours.example")
        Membership.objects.create(project=ours, user=user, role=role)
        members[role] = Client(raise_request_exception=False)
        members[role].force_login(user)
    tokens = {scope: _token(ours, scope) for scope in Scope}
    revoked, tokens["revoked"] = create_token(project=ours, name="t", scopes=Scope, actor="test")
    revoke_token(token=revoked, actor="test", now=datetime.now(UTC))
    past = datetime.now(UTC) - timedelta(seconds=1)
    _, tokens["expired"] = create_token(project=ours, name="t", scopes=Scope, actor="test", expires_at=past)
    tokens["unknown"] = "dl_" + "0" * 72
    return People(members, stranger, tokens, _token(theirs, *Scope), _token(ours, *Scope))


def _token(project: Project, *scopes: str) -> str:
    maker = project.memberships.filter(role=Role.ADMIN).first()
    owner = maker.user if maker else None
    return create_token(project=project, name="t", scopes=scopes, actor="test", created_by=owner)[1]


@cache
def nobody() -> Client:
    """A client without a session; it is made once, for making one loads the middleware."""
    return Client(raise_request_exception=False)


@contextmanager
def undone() -> Iterator[None]:
    """Take the database back afterwards, so that each route finds the same world."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def call(
    route: Route,
    world: World,
    client: Client | None = None,
    token: str | None = None,
    query: str = "",
    body: tuple[bytes, str] = (b"", "application/json"),
    **extra: str,
) -> Any:
    client = client or nobody()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    path = f"/{world.fill(route.path)}{query}"
    content, kind = (b"", "") if route.method in ("GET", "DELETE") else body
    answer = client.generic(route.method, path, content, kind, headers=headers, **extra)
    read(answer)
    return answer


def read(answer: Any) -> None:
    """Read a file to its end, where the client closes it."""
    if answer.streaming:
        answer.getvalue()


def verdict(status: int) -> str:
    """A route that lets a caller in may still want a body or a precondition, but finds what its path names."""
    named = {401: "who are you", 403: "not allowed", 404: "not found", 405: "not offered"}
    return named.get(status, "let in" if status < 500 else f"failed {status}")


QUERIES = {
    "metrics": "?metric=accuracy",
    "losses": "?feature=a",
    "changed-examples": "?feature=a",
    "comparison": "?challenger=1",
    "agreement": "?challenger=1",
}
BODIES: dict[str, tuple[bytes, str]] = {
    "promote": (b'{"version": "1"}', "application/json"),
    "deployment": (b'{"shadows": []}', "application/json"),
    "reports": (b'{"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}', "application/json"),
    "PUT reference": (b"a\n1\n", "text/csv"),
    "POST reference": (b'{"kind": "trailing"}', "application/json"),
    "schema": (b'{"features": {"a": {"least": 0}}}', "application/json"),
    "POST segments": (b'{"conditions": [{"feature": "a", "lower": 0}]}', "application/json"),
    "<int:segment_id>": (b'{"conditions": [{"feature": "a", "lower": 0}]}', "application/json"),
    "POST custom-metrics": (b'{"name": "sum", "expression": "sum(a)"}', "application/json"),
    "evaluate": (b'{"expression": "sum(a)"}', "application/json"),
    "layout": (b'{"version": "1"}', "application/json"),
    "PUT summaries": (
        b'{"batch": "b", "windows": [{"version": "1", "role": "champion", '
        b'"hour": "2026-01-01T00:00:00Z", "summary": ""}]}',
        "application/json",
    ),
    "<int:group_id>": (b'{"sampling": 0.5}', "application/json"),
    "<int:token_id>": (b'{"allowed_networks": []}', "application/json"),
    "<int:custom_metric_id>": (b'{"unit": "EUR"}', "application/json"),
    "segment-searches": (
        b'{"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}',
        "application/json",
    ),
    "POST annotations": (b'{"start": "2026-01-01T00:00:00Z", "text": "new prices"}', "application/json"),
    "failed": (b'{"reason": "out of memory"}', "application/json"),
    "comments": (b'{"text": "looking"}', "application/json"),
    "snooze": (b'{"until": null}', "application/json"),
    "judge": (b'{"judgement": "real"}', "application/json"),
    "assign": (b'{"assignee": null}', "application/json"),
    "<monitor>": (b'{"span": "auto"}', "application/json"),
    "<alias>": (b'{"version": "1"}', "application/json"),
    "POST releases": (b'{"version": "1"}', "application/json"),
    "lake": (b'{"settings": {"bucket": "days"}}', "application/json"),
    "PUT mlflow": (b'{"url": "https://127.0.0.1", "registered_model": "flights"}', "application/json"),
    "POST mlflow-imports": (b'{"url": "https://127.0.0.1"}', "application/json"),
    "POST pulls": (b'{"url": "https://127.0.0.1"}', "application/json"),
    "<int:member_id>": (b'{"role": "viewer"}', "application/json"),
    "<int:team_id>": (b'{"members": []}', "application/json"),
    "<slug>": (b'{"name": "Ours"}', "application/json"),
    "projects": (b'{"name": "Another"}', "application/json"),
    "<int:role_id>": (b'{"scopes": ["read"]}', "application/json"),
    "roles": (b'{"name": "night-shift", "scopes": ["read"]}', "application/json"),
    "teams": (b'{"name": "night shift"}', "application/json"),
    "invitations": (b'{"email": "somebody@example.com"}', "application/json"),
    "<int:dataset_id>": (b'{"archived": false}', "application/json"),
    "<int:reference_id>": (b'{"archived": false}', "application/json"),
    "versions": (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
        "multipart/form-data; boundary=x",
    ),
}


def call_with_body(route: Route, world: World, token: str) -> Any:
    """Call with a body and parameters that are right, so that only the object decides."""
    name = route.path.rsplit("/", 1)[1]
    body, kind = b"", ""
    if route.method not in ("GET", "DELETE"):
        sent = BODIES.get(name) or BODIES.get(f"{route.method} {name}")
        body, kind = sent or (b"{}", "application/json")
    path = f"/{world.fill(route.path)}{QUERIES.get(name, '')}"
    headers = {"Authorization": f"Bearer {token}", "If-Match": "1"}
    answer = nobody().generic(route.method, path, body, kind, headers=headers)
    read(answer)
    return answer


class TestTheMatrix:
    def test_lists_every_route(self) -> None:
        kept_elsewhere = (ADMIN, ACCOUNTS, LINKS, SCIM)

        unlisted = {path for path in resolver_paths() if not path.startswith(kept_elsewhere)}

        assert unlisted - {route.path for route in (*ROUTES, *PAGE_ROUTES)} == set()

    def test_lists_no_route_that_is_gone(self) -> None:
        assert {route.path for route in (*ROUTES, *PAGE_ROUTES)} - set(resolver_paths()) == set()


class TestRoutesOfTheApi:
    def test_let_in_exactly_who_may(self, world: World, people: People, subtests: pytest.Subtests) -> None:
        """By a token of each scope, and by the session of the least member that may or the greatest that may not."""
        sender = ApiToken.objects.get(prefix=people.tokens[Scope.LOG][:11])
        # who may log and not read sees their own files
        UploadedFile.objects.update(created_by=f"token {sender.prefix}…")
        for route in (one for one in ROUTES if one.needs_token):
            with subtests.test(f"{route.method} {route.path}"), undone():
                member = Role.VIEWER if route.takes == "read" else Role.ADMIN
                answers = {who: call(route, world, token=token) for who, token in people.tokens.items()}
                answers["member"] = call(route, world, client=people.members[member])
                answers["anonymous"] = call(route, world)
                answers["stranger"] = call_with_body(route, world, people.stranger_token)

                expected = dict.fromkeys(("anonymous", "revoked", "expired", "unknown"), "who are you")
                expected |= {scope: "let in" if scope == route.takes else "not allowed" for scope in Scope}
                by_session = "let in" if route.takes == "read" else "not allowed"
                expected["member"] = by_session if route.method == "GET" else "who are you"
                # a subject is somebody of each project
                is_ours = "<" in route.path and "<path:key>" not in route.path
                expected["stranger"] = "not found" if is_ours else "let in"
                assert {who: verdict(answer.status_code) for who, answer in answers.items()} == expected
                for answer in answers.values():
                    if answer.status_code in (401, 403):
                        assert_refusal(route, answer)

    def test_refuse_what_is_wrong_for_all_in_one_shape(
        self, world: World, people: People, subtests: pytest.Subtests
    ) -> None:
        for path in sorted({route.path for route in ROUTES if route.takes != "nothing"}):
            listed = {route.method for route in ROUTES if route.path == path}
            with subtests.test(f"other methods of {path}"), undone():
                for method in {*METHODS, "TRACE"} - listed:
                    answer = call(Route(method, path, ""), world, token=people.stranger_token)

                    assert answer.status_code == 405
                    assert listed <= set(answer["Allow"].split(", "))
                    if path.startswith("api/"):
                        assert_refusal(Route(method, path, ""), answer)
        for route in (one for one in ROUTES if one.needs_token):
            with subtests.test(f"{route.method} {route.path}"), undone():
                misspelt = call(route, world, token=people.everything, query="?misspelt=1")

                assert misspelt.status_code == 400
                assert_refusal(route, misspelt)
                if route.method in ("POST", "PUT", "PATCH") and takes_body(route):
                    picture = call(route, world, token=people.everything, body=(b"{}", "image/png"))
                    assert picture.status_code == 415
                    assert_refusal(route, picture)

    @pytest.mark.slow
    def test_of_the_public_answer_everybody(
        self,
        world: World,
        people: People,
        subtests: pytest.Subtests,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(documentation_views, "BUILT_PAGES", tmp_path)
        for route in (one for one in ROUTES if one.takes == "public"):
            with subtests.test(route.path):
                is_built = not route.path.startswith("docs/")
                assert statuses(route, world, people) == {200 if is_built else 503}

    def test_of_other_keys_know_nobody_by_a_token_or_a_session(
        self, world: World, people: People, subtests: pytest.Subtests
    ) -> None:
        for route in (one for one in ROUTES if one.knows_no_token):
            with subtests.test(f"{route.method} {route.path}"):
                assert statuses(route, world, people) == {401}


def statuses(route: Route, world: World, people: People) -> set[int]:
    """Call a route with each session, with each token, and without either."""
    answers = [call(route, world, client=client) for client in people.members.values()]
    answers += [call(route, world, token=token) for token in (*people.tokens.values(), None)]
    return {answer.status_code for answer in answers}


def assert_refusal(route: Route, answer: Any) -> None:
    assert_problem(answer, answer.status_code)
    assert_described(route.method, answer.wsgi_request.path, answer)


def takes_body(route: Route) -> bool:
    """Actions on an object take no body, or none is needed."""
    verb = route.path.rsplit("/", 1)[1]
    return verb not in (
        "runs",
        "resend",
        "approve",
        "reject",
        "cancel",
        "pause",
        "resume",
        "roll-back",
        "acknowledge",
        "resolve",
        "test",
        "replay",
        "retry",
        "rollback",
        "variants",
        "register",
        "rotate-secret",
        "code",
        "revoke",
    )


@pytest.mark.parametrize("route", [r for r in ROUTES if r.takes == "scrape"], ids=lambda r: r.path)
class TestMetricsRoutes:
    def test_are_open_on_this_machine(self, route: Route, world: World) -> None:
        assert call(route, world).status_code == 200

    @pytest.mark.parametrize(
        "elsewhere", [{"REMOTE_ADDR": "10.1.2.3"}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}]
    )
    def test_want_a_token_from_elsewhere(
        self, route: Route, world: World, people: People, elsewhere: dict[str, str]
    ) -> None:
        tokens = people.tokens | {"stranger": people.stranger_token, "anonymous": None}

        found = {
            who: call(route, world, token=token, **elsewhere).status_code for who, token in tokens.items()
        }

        refused = dict.fromkeys(Scope, 403) | dict.fromkeys(
            ("revoked", "expired", "unknown", "anonymous"), 401
        )
        assert found == refused | {"read": 200, "stranger": 200}

    def test_tell_a_token_of_its_own_project_only(self, route: Route, world: World, people: People) -> None:
        def incidents(token: str) -> int:
            answer = Client().get(f"/{route.path}", headers={"Authorization": f"Bearer {token}"})
            return len(re.findall(r"_open\{.*\} 1", answer.content.decode()))

        assert (incidents(people.tokens["read"]), incidents(people.stranger_token)) == (1, 0)


class TestPages:
    @pytest.mark.slow
    def test_let_in_exactly_who_may(self, world: World, people: People, subtests: pytest.Subtests) -> None:
        """Each page by the least role that may and the greatest that may not, and by everybody else.

        What a viewer sees has no form that would be refused.
        """
        order = list(Role)
        for route in PAGE_ROUTES:
            with subtests.test(f"{route.method} {route.path or 'start page'}"), undone():
                least = order.index(route.takes)
                answers = {
                    role: visit(route, world, people.members[role])
                    for role in order[max(least - 1, 0) : least + 1]
                }
                seen_by = {who: seen(answer) for who, answer in answers.items()}
                seen_by["stranger"] = seen(visit(route, world, people.stranger))
                seen_by["anonymous"] = seen(visit(route, world, nobody()))
                bearer = {"Authorization": f"Bearer {people.tokens['admin']}"}
                seen_by["token"] = seen(visit(route, world, nobody(), headers=bearer))
                unlisted = set(METHODS) - {page.method for page in PAGE_ROUTES if page.path == route.path}
                for method in unlisted:
                    seen_by[method] = seen(
                        visit(route._replace(method=method), world, people.members["admin"])
                    )

                expected = {role: "let in" if role == route.takes else "not allowed" for role in answers}
                expected |= {"stranger": "not found", "anonymous": "login", "token": "login"}
                assert seen_by == expected | dict.fromkeys(unlisted, "not offered")
                if route.method == "GET" and route.takes == Role.VIEWER:
                    assert refused_forms(answers[Role.VIEWER]) == []

    @pytest.mark.slow
    def test_link_only_to_what_there_is(
        self, world: World, people: People, subtests: pytest.Subtests
    ) -> None:
        """Every local link of every page, of a project with one object of each kind and of an empty one."""
        linked: dict[str, str] = {}
        for route in (one for one in PAGE_ROUTES if one.method == "GET"):
            with undone():
                answers = [visit(route, world, people.members["admin"])]
                if "<" not in route.path:
                    answers.append(people.stranger.get(f"/p/theirs/{route.path}"))
                    read(answers[-1])
                linked |= {link: route.path for answer in answers for link in links_of(answer)}
        for link, page in linked.items():
            with subtests.test(link, page=page), undone():
                assert leads_somewhere(link, people)


def links_of(answer: Any) -> list[str]:
    """List the local links of a page, without their places in pages."""
    text = "" if answer.streaming else answer.content.decode(errors="replace")
    return [unescape(link) for link in re.findall(r'href="(/[^"#]*)', text)]


def leads_somewhere(link: str, people: People) -> bool:
    """Return whether a link is to a page, to one of the documentation, which may not be built here, or to a file that
    `test_static_files.py` checks."""
    if link.startswith("/static/"):
        return True
    if link.startswith("/docs/"):
        page = DOCUMENTATION / (link.removeprefix("/docs/") or "index.html")
        return page.suffix == ".html" and page.with_suffix(".md").is_file()
    client = people.stranger if link.startswith("/p/theirs/") else people.members["admin"]
    answer = client.get(link)
    read(answer)
    return verdict(answer.status_code) == "let in"


def refused_forms(answer: Any) -> list[str]:
    """List where the forms of a page lead that a viewer may not send."""
    text = "" if answer.streaming else answer.content.decode(errors="replace")
    refused = []
    for attributes, fields in re.findall(r"<form([^>]*)>(.*?)</form>", text, re.DOTALL):
        is_disabled = re.search(r"<fieldset[^>]* disabled", fields) is not None
        if 'method="post"' not in attributes or "<button" not in fields or is_disabled:
            continue
        action = re.search(r'action="([^"?#]*)', attributes)
        path = action[1] if action and action[1] else answer.wsgi_request.path
        if needed_to_post(path) not in ("", Role.VIEWER):
            refused.append(path)
    return refused


def needed_to_post(path: str) -> str:
    """Return the role that may post to the page at a path; empty where it is no page of a project."""
    if not path.startswith("/p/ours/"):
        return ""
    pattern = resolve(path.removeprefix("/p/ours")).route
    return next((r.takes for r in PAGE_ROUTES if r.method == "POST" and r.path == pattern), "")


def seen(answer: Any) -> str:
    """Tell what a page did; a form that was taken leads elsewhere, though never to the login."""
    is_login = answer.status_code == 302 and answer["Location"].startswith("/accounts/login/")
    return "login" if is_login else verdict(answer.status_code)


def visit(route: Route, world: World, client: Client, **extra: Any) -> Any:
    """Open a page, or send its form with just enough to reach the object."""
    data = {"do": "create"} if route.method == "POST" else None
    path = f"/p/ours/{world.fill(route.path)}{'?metric=accuracy' if route.path.endswith('.csv') else ''}"
    answer = getattr(client, route.method.lower())(path, data, **extra)
    read(answer)
    return answer


def test_a_page_refuses_a_form_of_another_site(people: People, world: World) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get(email="admin@ours.example"))

    assert client.post("/p/ours/settings/tokens", {"name": "t", "scopes": ["read"]}).status_code == 403


class TestPagesOfOthers:
    @pytest.mark.slow
    def test_accounts_of_providers_are_for_their_tokens(
        self, people: People, subtests: pytest.Subtests
    ) -> None:
        bearer = {"Authorization": f"Bearer {people.everything}"}
        for path in sorted(path for path in resolver_paths() if path.startswith(SCIM)):
            with subtests.test(path):
                address = "/" + re.sub(r"<[^>]*>", "1", path)

                by_session = {
                    client.generic(method, address).status_code
                    for client in (nobody(), people.members["admin"])
                    for method in METHODS
                }
                by_token = {
                    nobody().generic(method, address, headers=bearer).status_code for method in METHODS
                }

                assert by_session | by_token == {401}

    @pytest.mark.slow
    def test_admin_is_for_staff(self, people: People, subtests: pytest.Subtests) -> None:
        open_to_all = {"admin/login/", "admin/logout/", "admin/jsi18n/"}
        for path in sorted(path for path in plain_paths(ADMIN) if "^" not in path):
            with subtests.test(path):
                found = {client.get(f"/{path}").status_code for client in (nobody(), people.members["admin"])}

                assert found == {302} or (path in open_to_all and max(found) < 500)

    @pytest.mark.slow
    def test_accounts_never_fail(self, people: People, subtests: pytest.Subtests) -> None:
        for path in sorted(plain_paths(ACCOUNTS)):
            with subtests.test(path), undone():
                for client in (nobody(), people.members["viewer"]):
                    assert client.get(f"/{path}").status_code < 500


def plain_paths(prefix: str) -> set[str]:
    return {
        path for path in resolver_paths() if path.startswith(prefix) and "<" not in path and "(" not in path
    }
