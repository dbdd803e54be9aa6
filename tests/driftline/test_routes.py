"""Walks every URL of the resolver with every role against `route_matrix.py`."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve
from pytest_django import DjangoDbBlocker

from driftline.accounts.models import ApiToken, Membership, Project, User
from driftline.accounts.scopes import Role, Scope
from driftline.accounts.services import create_project, create_token, revoke_token
from inference.prediction_log.imports.models import UploadedFile
from tests.driftline.route_matrix import ACCOUNTS, ADMIN, LINKS, PAGES, ROUTES, SCIM, Route
from tests.shared_rows import rows_of_many_tests
from tests.worlds.every_kind import World, furnish

pytestmark = pytest.mark.django_db

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
    tokens["stranger"] = _token(theirs, *Scope)
    revoked, tokens["revoked"] = create_token(project=ours, name="t", scopes=Scope, actor="test")
    revoke_token(token=revoked, actor="test", now=datetime.now(UTC))
    past = datetime.now(UTC) - timedelta(seconds=1)
    _, tokens["expired"] = create_token(project=ours, name="t", scopes=Scope, actor="test", expires_at=past)
    tokens["unknown"] = "dl_" + "0" * 72
    return People(members, stranger, tokens)


def _token(project: Project, *scopes: str) -> str:
    maker = project.memberships.filter(role=Role.ADMIN).first()
    owner = maker.user if maker else None
    return create_token(project=project, name="t", scopes=scopes, actor="test", created_by=owner)[1]


@cache
def nobody() -> Client:
    """A client without a session; it is made once, for making one loads the middleware."""
    return Client(raise_request_exception=False)


def call(
    route: Route, world: World, client: Client | None = None, token: str | None = None, **extra: str
) -> int:
    client = client or nobody()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    path = "/" + world.fill(route.path)
    kind = "" if route.method in ("GET", "DELETE") else "application/json"
    answer = client.generic(route.method, path, b"", kind, headers=headers, **extra)
    read(answer)
    return answer.status_code


def read(answer: Any) -> None:
    """Read a file to its end, where the client closes it."""
    if answer.streaming:
        answer.getvalue()


def verdict(status: int) -> str:
    """A route that lets a caller in may still want a body or a precondition, but finds what its path names."""
    named = {401: "who are you", 403: "not allowed", 404: "not found", 405: "not offered"}
    return named.get(status, "let in" if status < 500 else f"failed {status}")


@pytest.mark.parametrize("route", [r for r in ROUTES if r.needs_token], ids=lambda r: f"{r.method} {r.path}")
def test_a_route_lets_in_exactly_who_may(route: Route, world: World, people: People) -> None:
    sender = ApiToken.objects.get(
        prefix=people.tokens[Scope.LOG][:11]
    )  # who may log and not read sees its own files
    UploadedFile.objects.update(created_by=f"token {sender.prefix}…")

    statuses = {who: verdict(call(route, world, token=token)) for who, token in people.tokens.items()}
    statuses |= {role: verdict(call(route, world, client=client)) for role, client in people.members.items()}
    statuses["anonymous"] = verdict(call(route, world))
    statuses["stranger"] = verdict(call_with_body(route, world, people.tokens["stranger"]))

    expected = dict.fromkeys(("anonymous", "revoked", "expired", "unknown"), "who are you")
    expected |= {scope: "let in" if scope == route.takes else "not allowed" for scope in Scope}
    by_session = (
        "who are you" if route.method != "GET" else "let in" if route.takes == "read" else "not allowed"
    )
    expected |= dict.fromkeys(Role, by_session)
    is_ours = "<" in route.path and "<path:key>" not in route.path  # a subject is somebody of each project
    expected["stranger"] = "not found" if is_ours else "let in"
    assert statuses == expected


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


def call_with_body(route: Route, world: World, token: str) -> int:
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
    return answer.status_code


VERBS = ("get", "post", "put", "patch", "delete")


class TestTheMatrix:
    def test_lists_every_route(self) -> None:
        kept_elsewhere = (ADMIN, ACCOUNTS, LINKS, SCIM)

        unlisted = {path for path in resolver_paths() if not path.startswith(kept_elsewhere)}

        assert unlisted - {route.path for route in (*ROUTES, *PAGE_ROUTES)} == set()

    def test_lists_no_route_that_is_gone(self) -> None:
        assert {route.path for route in (*ROUTES, *PAGE_ROUTES)} - set(resolver_paths()) == set()

    @pytest.mark.parametrize("path", sorted({route.path for route in ROUTES if route.takes != "nothing"}))
    def test_lists_every_method(self, path: str, world: World, people: People) -> None:
        listed = {route.method for route in ROUTES if route.path == path}
        client = nobody()
        headers = {"Authorization": f"Bearer {people.tokens['stranger']}"}

        answers = {
            method: client.generic(method, "/" + world.fill(path), headers=headers) for method in METHODS
        }

        for answer in answers.values():
            read(answer)
        offered = {method for method, answer in answers.items() if answer.status_code != 405}
        assert offered == listed
        allowed = [answer["Allow"] for answer in answers.values() if answer.status_code == 405]
        assert all(listed <= set(allow.split(", ")) for allow in allowed)


class TestOpenRoutes:
    @pytest.mark.parametrize("route", [r for r in ROUTES if r.takes == "public"], ids=lambda r: r.path)
    def test_answer_everybody(self, route: Route, world: World, people: People) -> None:
        statuses = {role: call(route, world, client=client) for role, client in people.members.items()}
        statuses |= {who: call(route, world, token=token) for who, token in people.tokens.items()}
        statuses["anonymous"] = call(route, world)

        assert statuses == dict.fromkeys(statuses, 200)


class TestRoutesOfOtherKeys:
    @pytest.mark.parametrize("route", [r for r in ROUTES if r.knows_no_token], ids=lambda r: r.path)
    def test_know_nobody_by_a_token_or_a_session(self, route: Route, world: World, people: People) -> None:
        statuses = {role: call(route, world, client=client) for role, client in people.members.items()}
        statuses |= {who: call(route, world, token=token) for who, token in people.tokens.items()}
        statuses["anonymous"] = call(route, world)

        assert statuses == dict.fromkeys(statuses, 401)


@pytest.mark.parametrize("route", [r for r in ROUTES if r.takes == "scrape"], ids=lambda r: r.path)
class TestMetricsRoutes:
    def test_are_open_on_this_machine(self, route: Route, world: World) -> None:
        assert call(route, world) == 200

    @pytest.mark.parametrize(
        "elsewhere", [{"REMOTE_ADDR": "10.1.2.3"}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}]
    )
    def test_want_a_token_from_elsewhere(
        self, route: Route, world: World, people: People, elsewhere: dict[str, str]
    ) -> None:
        statuses = {who: call(route, world, token=token, **elsewhere) for who, token in people.tokens.items()}
        statuses["anonymous"] = call(route, world, **elsewhere)

        refused = dict.fromkeys(Scope, 403) | dict.fromkeys(
            ("revoked", "expired", "unknown", "anonymous"), 401
        )
        assert statuses == refused | {"read": 200, "stranger": 200}

    def test_tell_a_token_of_its_own_project_only(self, route: Route, world: World, people: People) -> None:
        def incidents(token: str) -> int:
            answer = Client().get(f"/{route.path}", headers={"Authorization": f"Bearer {token}"})
            return len(re.findall(r"_open\{.*\} 1", answer.content.decode()))

        assert (incidents(people.tokens["read"]), incidents(people.tokens["stranger"])) == (1, 0)


@pytest.mark.parametrize("route", PAGE_ROUTES, ids=lambda r: f"{r.method} {r.path or 'start page'}")
def test_a_page_lets_in_exactly_who_may(route: Route, world: World, people: People) -> None:
    bearer = {"Authorization": f"Bearer {people.tokens['admin']}"}
    unlisted = set(METHODS) - {page.method for page in PAGE_ROUTES if page.path == route.path}

    statuses = {role: seen(visit(route, world, client)) for role, client in people.members.items()}
    statuses["stranger"] = seen(visit(route, world, people.stranger))
    statuses["anonymous"] = seen(visit(route, world, nobody()))
    statuses["token"] = seen(visit(route, world, nobody(), headers=bearer))
    for method in unlisted:
        statuses[method] = seen(visit(route._replace(method=method), world, people.members["admin"]))

    order = list(Role)
    may = order[order.index(route.takes) :]
    expected = {role: "let in" if role in may else "not allowed" for role in order}
    expected |= {"stranger": "not found", "anonymous": "login", "token": "login"}
    assert statuses == expected | dict.fromkeys(unlisted, "not offered")


@pytest.mark.parametrize(
    "route", [r for r in PAGE_ROUTES if r.method == "GET"], ids=lambda r: r.path or "start page"
)
def test_a_page_offers_a_viewer_no_form_that_is_refused(route: Route, world: World, people: People) -> None:
    answer = visit(route, world, people.members[Role.VIEWER])
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

    assert refused == []


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
    @pytest.mark.parametrize("path", sorted({p for p in set(resolver_paths()) if p.startswith(SCIM)}))
    def test_accounts_of_providers_are_for_their_tokens(self, path: str, people: People) -> None:
        address = "/" + re.sub(r"<[^>]*>", "1", path)
        clients = (nobody(), *people.members.values())

        by_session = {getattr(one, verb)(address).status_code for one in clients for verb in VERBS}
        by_token = {
            getattr(nobody(), verb)(address, headers={"Authorization": f"Bearer {token}"}).status_code
            for token in people.tokens.values()
            for verb in VERBS
        }

        assert by_session | by_token == {401}

    @pytest.mark.parametrize(
        "path",
        sorted(
            p
            for p in set(resolver_paths())
            if p.startswith(ADMIN) and "<" not in p and "^" not in p and "(" not in p
        ),
    )
    def test_admin_is_for_staff(self, path: str, people: People) -> None:
        open_to_all = {"admin/login/", "admin/logout/", "admin/jsi18n/"}
        statuses = {client.get(f"/{path}").status_code for client in (nobody(), *people.members.values())}

        assert statuses == {302} or (path in open_to_all and max(statuses) < 500)

    @pytest.mark.parametrize(
        "path",
        sorted(p for p in set(resolver_paths()) if p.startswith(ACCOUNTS) and "<" not in p and "(" not in p),
    )
    def test_accounts_never_fail(self, path: str, people: People) -> None:
        statuses = {client.get(f"/{path}").status_code for client in (nobody(), *people.members.values())}

        assert max(statuses) < 500
