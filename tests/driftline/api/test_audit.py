"""The audit trail over the API: search, kind, export and chain."""

import json

import pytest

from driftline.base.accounts.services import record_audit
from tests.driftline.api.conftest import Api

pytestmark = pytest.mark.django_db


def test_is_searched_and_filtered_by_kind(api: Api) -> None:
    record_audit(
        project=api.project, actor="ada", action="rule.update", subject="low score", after={"a": "deep"}
    )
    record_audit(project=api.project, actor="ada", action="rules.other", subject="other")

    by_word = api.get("/audit?search=deep").json()["items"]
    by_kind = api.get("/audit?kind=rule").json()["items"]

    assert [entry["subject"] for entry in (*by_word, *by_kind)] == ["low score", "low score"]


def test_is_exported_as_the_list_shows_it(api: Api) -> None:
    record_audit(project=api.project, actor="ada", action="rule.update", subject="low score")

    exported = api.get("/audit/export?kind=rule")

    lines = [json.loads(line) for line in exported.getvalue().splitlines()]
    assert exported["Content-Type"] == "application/x-ndjson"
    assert lines == api.get("/audit?kind=rule").json()["items"]


def test_says_whether_the_chain_holds(api: Api) -> None:
    assert api.get("/audit/chain").json()["holds"] is True
