"""Tokens over the API: where they may be used from, their rotation, and what serving processes hear of both."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from driftline.base.accounts.access.http_auth import _holders
from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import ApiToken, AuditEntry, Project, User
from driftline.base.accounts.services import allow_networks, create_token, revoke_token, rotate_token
from inference.registry.plan.publishing import _tokens
from inference.serving.callers import InferenceCaller
from inference.serving.plan import Plan
from inference.serving.refusals import Refusal
from inference.serving.routing import RoutingTable
from tests.driftline.api.conftest import Api, caller

OFFICE = "203.0.113.7"


@pytest.fixture
def app(api: Api) -> tuple[ApiToken, str]:
    """A token of our project that reads."""
    return create_token(project=api.project, name="app", scopes=["read", "infer"], actor="test")


def read_models(text: str, address: str = OFFICE, **headers: str) -> Any:
    sent = {
        "Authorization": f"Bearer {text}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return Client().get("/api/v1/models", headers=sent, REMOTE_ADDR=address)


def serving_status(text: str, address: str = OFFICE) -> int:
    """Ask a serving process that has the plan as it would be published now."""
    table = RoutingTable(Plan(1, [], _tokens()), {}, {})
    found = table.authenticate(InferenceCaller(f"Bearer {text}".encode(), address), Scope.INFER)
    return found.status if isinstance(found, Refusal) else 200


class TestAllowedAddresses:
    def test_let_a_token_in_from_there_alone(self, api: Api, app: tuple[ApiToken, str]) -> None:
        token, text = app

        changed = api.send(
            "PATCH", f"/tokens/{token.pk}", {"allowed_networks": ["203.0.113.0/24", "2001:db8::/32"]}
        )

        assert changed.json()["allowed_networks"] == ["203.0.113.0/24", "2001:db8::/32"]
        statuses = {
            address: (read_models(text, address).status_code, serving_status(text, address))
            for address in (OFFICE, f"::ffff:{OFFICE}", "2001:db8::7", "198.51.100.1", "::1")
        }
        assert statuses == {
            OFFICE: (200, 200),
            f"::ffff:{OFFICE}": (200, 200),
            "2001:db8::7": (200, 200),
            "198.51.100.1": (403, 403),
            "::1": (403, 403),
        }

    def test_refuse_with_the_address_in_the_sentence_and_in_the_trail(
        self, app: tuple[ApiToken, str]
    ) -> None:
        token, text = app
        allow_networks(token=token, networks=["203.0.113.0/24"], actor="test")

        answers = [read_models(text, "198.51.100.1").json() for _ in range(3)]

        assert {answer["code"] for answer in answers} == {"address_not_allowed"}
        assert "may not be used from 198.51.100.1;" in answers[0]["detail"]
        entry = AuditEntry.objects.get(action="token.refused")  # one for a while: many tries fill no trail
        assert (entry.address, entry.token_id, entry.project) == ("198.51.100.1", token.pk, token.project)
        token.refresh_from_db()
        assert token.last_used_at is None

    @pytest.mark.parametrize(("proxies", "status"), [(["127.0.0.0/8"], 200), ([], 403)])
    def test_believe_of_forwarded_addresses_what_a_declared_proxy_says(
        self, app: tuple[ApiToken, str], settings: Any, proxies: list[str], status: int
    ) -> None:
        token, text = app
        allow_networks(token=token, networks=["203.0.113.0/24"], actor="test")
        settings.TRUSTED_PROXIES = proxies

        forwarded = read_models(text, "127.0.0.1", X_Forwarded_For=OFFICE)
        pretended = read_models(text, "127.0.0.1", X_Forwarded_For=f"{OFFICE}, 198.51.100.1")

        assert (forwarded.status_code, pretended.status_code) == (status, 403)

    def test_hold_for_metrics_too(self, app: tuple[ApiToken, str]) -> None:
        token, text = app
        allow_networks(token=token, networks=["203.0.113.0/24"], actor="test")
        bearer = {"Authorization": f"Bearer {text}"}

        assert Client().get("/metrics", headers=bearer, REMOTE_ADDR="198.51.100.1").status_code == 403
        assert Client().get("/metrics", headers=bearer, REMOTE_ADDR=OFFICE).status_code == 200

    @pytest.mark.parametrize(
        ("networks", "pointer", "sentence"),
        [
            (["10.0.0.0/8", "203.0.113.7/24"], "/allowed_networks/1", "use 203.0.113.0/24 for all of it"),
            (["office"], "/allowed_networks/0", "is not a network"),
            ([f"10.0.{n}.0/24" for n in range(101)], "/allowed_networks", "use at most 100"),
        ],
    )
    def test_are_refused_at_their_place_with_a_remedy(
        self, api: Api, app: tuple[ApiToken, str], networks: list[str], pointer: str, sentence: str
    ) -> None:
        answer = api.send("PATCH", f"/tokens/{app[0].pk}", {"allowed_networks": networks})

        [fault] = answer.json()["errors"]
        assert (answer.status_code, fault["pointer"]) == (422, pointer)
        assert sentence in fault["detail"]
        assert read_models(app[1]).status_code == 200

    def test_are_audited_with_what_they_were(self, api: Api, app: tuple[ApiToken, str]) -> None:
        path = f"/tokens/{app[0].pk}"

        for networks in (["10.0.0.0/8"], ["10.0.0.0/8", "10.0.0.0/8"], []):
            api.send("PATCH", path, {"allowed_networks": networks})

        entries = (
            AuditEntry.objects.filter(action="token.allow").order_by("pk").values_list("before", "after")
        )
        assert list(entries) == [([], ["10.0.0.0/8"]), (["10.0.0.0/8"], [])]

    def test_are_set_by_the_command_line_too(self, api: Api) -> None:
        out = StringIO()
        options = {
            "project": api.project.slug,
            "name": "app",
            "scopes": "read",
            "allow": "10.0.0.0/8,2001:db8::/32",
        }

        call_command("token", "create", **options, stdout=out)
        made = api.project.tokens.get(name="app")
        call_command("token", "allow", made.prefix, "203.0.113.7", stdout=out)

        assert made.allowed_networks == ["10.0.0.0/8", "2001:db8::/32"]
        assert "may be used from 203.0.113.7/32" in out.getvalue()
        with pytest.raises(CommandError, match=r"use 10\.0\.0\.0/8"):
            call_command("token", "allow", made.prefix, "10.1.0.0/8", stdout=out)


class TestRotation:
    def test_gives_a_new_secret_and_keeps_the_old_one_for_a_day(
        self, api: Api, app: tuple[ApiToken, str]
    ) -> None:
        token, old = app

        answer = api.post(f"/tokens/{token.pk}/rotate", {})

        new = answer.json()["secret"]
        until = datetime.fromisoformat(answer.json()["previous_valid_until"])
        assert timedelta(hours=23) < until - datetime.now(UTC) < timedelta(hours=25)
        assert (new != old, new[:11], len(new)) == (True, token.prefix, len(old))
        assert [read_models(text).status_code for text in (new, old)] == [200, 200]
        assert [serving_status(text) for text in (new, old)] == [200, 200]

    def test_ends_the_old_secret_by_itself(self, app: tuple[ApiToken, str]) -> None:
        token, old = app
        hours_ago = datetime.now(UTC) - timedelta(hours=3)

        new = rotate_token(token=token, scopes=Scope, actor="test", now=hours_ago, overlap_hours=2)

        assert [read_models(text).status_code for text in (new, old)] == [200, 401]
        assert [serving_status(text) for text in (new, old)] == [200, 401]

    def test_ends_an_old_secret_that_was_used_just_before(
        self, app: tuple[ApiToken, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is remembered of a secret for a second holds no longer than the secret."""
        token, old = app
        rotate_token(token=token, scopes=Scope, actor="test", now=datetime.now(UTC), overlap_hours=1)
        before = read_models(old).status_code

        later = datetime.now(UTC) + timedelta(hours=2)
        monkeypatch.setattr("driftline.base.accounts.access.http_auth.now", lambda: later)

        assert (before, read_models(old).status_code) == (200, 401)

    def test_ends_the_old_secret_at_once_where_that_is_chosen(
        self, api: Api, app: tuple[ApiToken, str]
    ) -> None:
        token, old = app
        assert read_models(old).status_code == 200

        answer = api.post(f"/tokens/{token.pk}/rotate", {"overlap_hours": 0}).json()

        assert answer["previous_valid_until"] is None
        assert [read_models(text).status_code for text in (answer["secret"], old)] == [200, 401]
        assert [serving_status(text) for text in (answer["secret"], old)] == [200, 401]

    def test_keeps_one_old_secret(self, api: Api, app: tuple[ApiToken, str]) -> None:
        token, oldest = app

        old, new = (api.post(f"/tokens/{token.pk}/rotate", {}).json()["secret"] for _ in range(2))

        assert [serving_status(text) for text in (new, old, oldest)] == [200, 200, 401]
        assert [read_models(text).status_code for text in (new, old, oldest)] == [200, 200, 401]

    def test_keeps_what_the_token_may_do_from_where_and_how_long(self, api: Api) -> None:
        expires = datetime.now(UTC) + timedelta(hours=2)
        token, old = create_token(
            project=api.project, name="app", scopes=["read"], actor="test", expires_at=expires,
            allowed_networks=["203.0.113.0/24"],
        )  # fmt: skip

        answer = api.post(f"/tokens/{token.pk}/rotate", {}).json()

        assert datetime.fromisoformat(answer["previous_valid_until"]) == expires
        for text in (answer["secret"], old):
            assert read_models(text).status_code == 200
            assert read_models(text, "198.51.100.1").status_code == 403
            assert serving_status(text) == serving_status(text, "198.51.100.1") == 403  # it may not infer
            assert (
                Client().post("/api/v1/models", headers={"Authorization": f"Bearer {text}"}).status_code
                == 403
            )

    @pytest.mark.slow
    def test_shares_the_limits_of_a_token_between_its_secrets(self, app: tuple[ApiToken, str]) -> None:
        token, old = app
        token.requests_per_second = 1
        token.save()
        new = rotate_token(token=token, scopes=Scope, actor="test", now=datetime.now(UTC))

        statuses = [read_models(text).status_code for text in (new, old) for _ in range(10)]

        assert statuses[:10] == [200] * 10
        assert 429 in statuses[10:12]

    def test_ends_both_secrets_with_the_token(self, app: tuple[ApiToken, str]) -> None:
        token, old = app
        new = rotate_token(token=token, scopes=Scope, actor="test", now=datetime.now(UTC))

        revoke_token(token=token, actor="test", now=datetime.now(UTC))

        assert [read_models(text).status_code for text in (new, old)] == [401, 401]
        assert [serving_status(text) for text in (new, old)] == [401, 401]

    def test_refuses_a_token_that_is_over(self, api: Api, app: tuple[ApiToken, str]) -> None:
        past = datetime.now(UTC) - timedelta(days=1)
        expired, _ = create_token(
            project=api.project, name="old", scopes=["read"], actor="test", expires_at=past
        )
        revoke_token(token=app[0], actor="test", now=past)

        answers = [api.post(f"/tokens/{token.pk}/rotate", {}) for token in (expired, app[0])]

        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
            (409, "token_expired"),
            (409, "already_revoked"),
        ]

    @pytest.mark.parametrize("hours", [-1, 721])
    def test_refuses_an_overlap_that_makes_no_sense(
        self, api: Api, app: tuple[ApiToken, str], hours: int
    ) -> None:
        answer = api.post(f"/tokens/{app[0].pk}/rotate", {"overlap_hours": hours})

        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/overlap_hours")

    def test_gives_nobody_a_secret_that_may_do_more_than_they(self, api: Api) -> None:
        strong, text = create_token(project=api.project, name="strong", scopes=Scope, actor="test")
        weak = caller("ours", "admin", "read")

        answer = weak.post(f"/tokens/{strong.pk}/rotate", {"overlap_hours": 0})

        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
        assert read_models(text).status_code == 200

    def test_is_audited_and_done_on_the_command_line(self, app: tuple[ApiToken, str]) -> None:
        token, old = app
        out = StringIO()

        call_command("token", "rotate", token.prefix, overlap_hours=1, stdout=out)

        sentence, new = out.getvalue().splitlines()
        entry = AuditEntry.objects.get(action="token.rotate")
        assert sentence.startswith("The old secret of token 'app' ends at ")
        assert [read_models(text).status_code for text in (new, old)] == [200, 200]
        assert (entry.actor, entry.subject) == ("command line", f"{token.prefix} app")
        assert not {new, old} & {str(entry.before), str(entry.after)}


def test_the_list_tells_all_of_a_token_but_its_secret(api: Api, app: tuple[ApiToken, str]) -> None:
    token, old = app
    allow_networks(token=token, networks=["10.0.0.0/8"], actor="test")
    new = api.post(f"/tokens/{token.pk}/rotate", {}).json()["secret"]

    answer = api.get("/tokens")

    listed = {one["name"]: one for one in answer.json()["items"]}
    assert set(listed) == {"test", "app"}
    assert listed["app"]["allowed_networks"] == ["10.0.0.0/8"]
    assert listed["app"]["previous_valid_until"] is not None
    assert listed["test"]["last_used_at"] is not None
    assert not [secret for secret in (old, new, token.digest) if secret in answer.content.decode()]


def test_another_project_neither_lists_nor_changes_nor_rotates_it(
    api: Api, app: tuple[ApiToken, str]
) -> None:
    token, text = app
    stranger = caller("theirs")

    listed = stranger.get("/tokens").json()["items"]
    changed = stranger.send("PATCH", f"/tokens/{token.pk}", {"allowed_networks": ["10.0.0.0/8"]})
    rotated = stranger.post(f"/tokens/{token.pk}/rotate", {})

    assert [one["id"] for one in listed] == [stranger.token.pk]
    assert (changed.status_code, rotated.status_code) == (404, 404)
    assert read_models(text).status_code == 200


@pytest.mark.parametrize("before", [False, True])
def test_the_tokens_of_a_disabled_person_are_refused_by_either_secret(api: Api, before: bool) -> None:
    user = User.objects.create_user("dev@ours.example")
    project = Project.objects.get(pk=api.project.pk)
    token, old = create_token(
        project=project, name="dev", scopes=["read", "infer"], actor="test", created_by=user
    )
    new = rotate_token(token=token, scopes=Scope, actor="test", now=datetime.now(UTC))
    text = old if before else new

    user.is_active = False
    user.save()
    _holders.forget()

    assert (read_models(text).status_code, serving_status(text)) == (401, 401)
