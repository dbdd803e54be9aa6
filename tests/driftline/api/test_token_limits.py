"""Limits of a token: set on the command line, kept in the plan, and held by the API."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from driftline.base.accounts.models import AuditEntry
from driftline.base.accounts.services import limit_token
from inference.registry.models import Model
from inference.registry.plan.publishing import _tokens
from tests.driftline.api.conftest import Api

PATH = "/models/flights/predictions"


def batch(*ids: str) -> dict[str, object]:
    item = {"timestamp": "2026-11-01T00:00:00Z", "version": "1", "features": {"a": 1}, "prediction": 1}
    return {"predictions": [{"id": id_, **item} for id_ in ids]}


@pytest.mark.slow
def test_a_token_beyond_its_requests_a_second_is_answered_429(api: Api, flights: Model) -> None:
    """Nothing held back a token whose client asked in a loop."""
    limit_token(token=api.token, requests_per_second=1, rows_per_second=0, actor="test")

    answers = [api.get("/models") for _ in range(60)]

    statuses = [answer.status_code for answer in answers]
    refused = answers[statuses.index(429)]
    assert statuses[:10] == [200] * 10
    assert refused.json()["code"] == "rate_limited"
    assert int(refused.headers["Retry-After"]) >= 1


def test_a_token_beyond_its_rows_a_second_is_answered_429(api: Api, flights: Model) -> None:
    limit_token(token=api.token, requests_per_second=0, rows_per_second=1, actor="test")

    taken = api.post(PATH, batch(*map(str, range(100))))
    refused = api.post(PATH, batch("late"))

    assert (taken.status_code, taken.json()["accepted"]) == (200, 100)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 60 <= int(refused.headers["Retry-After"]) <= 90


def test_the_command_line_sets_limits_that_reach_the_plan_and_the_audit_trail(api: Api) -> None:
    out = StringIO()

    call_command("token", "limit", api.token.prefix, requests_per_second=50, rows_per_second=7, stdout=out)

    [planned] = [token for token in _tokens() if token.digest == api.token.digest]
    entry = AuditEntry.objects.filter(action="token.limit").get()
    assert (planned.requests_per_second, planned.rows_per_second) == (50, 7)
    assert entry.after == {"requests_per_second": 50, "rows_per_second": 7}
    assert "50 requests and 7 rows a second" in out.getvalue()


def test_the_command_line_makes_tokens_with_limits(api: Api) -> None:
    out = StringIO()
    options = {"project": api.project.slug, "name": "app", "scopes": "infer"}

    call_command("token", "create", **options, requests_per_second=5, rows_per_second=0, stdout=out)

    made = api.project.tokens.get(name="app")
    assert (made.requests_per_second, made.rows_per_second) == (5, 0)


@pytest.mark.parametrize(("prefix", "limit"), [("dl_nobody", 1), ("dl_", -1)])
def test_the_command_line_refuses_what_makes_no_sense(api: Api, prefix: str, limit: int) -> None:
    with pytest.raises(CommandError):
        call_command("token", "limit", prefix, requests_per_second=limit, rows_per_second=0)
