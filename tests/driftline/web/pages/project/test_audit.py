"""The audit trail on its page: filtered, with what changed, exported, and with the state of the chain."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client

from driftline.base.accounts.audit.chain import seal_entries
from driftline.base.accounts.audit.trail import AuditFilter, changes_of, export_entries
from driftline.base.accounts.models import AuditEntry, Project, User
from driftline.base.accounts.services import create_project, record_audit
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup

PAGE = "/settings/audit"


@pytest.fixture(autouse=True)
def entries(project: Project, db: None) -> list[AuditEntry]:
    """A rule, a model and a channel were changed, in March 2026 but for the last."""
    cache.clear()
    march = datetime(2026, 3, 1, tzinfo=UTC)
    return [
        AuditEntry.objects.create(
            project=project, at=march, actor="ada@bank.example", action="rule.update", subject="rule low score",
            before={"threshold": 0.5, "notify": {"hours": 4}}, after={"threshold": 0.7, "notify": {"hours": 4}},
        ),
        AuditEntry.objects.create(
            project=project, at=march, actor="token dl_1234…", action="model.update", subject="fraud",
            before={"owner": ""}, after={"owner": "risk team"},
        ),
        record_audit(project=project, actor="ada@bank.example", action="channel.create", subject="pager"),
    ]  # fmt: skip


def subjects(client: Client, **filters: str) -> list[str]:
    shown = markup(client.get(PAGE, filters))
    return [one for one in ("rule low score", "fraud", "pager") if f'"Object">{one}<' in shown]


class TestFilters:
    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ({}, ["rule low score", "fraud", "pager"]),
            ({"search": "risk"}, ["fraud"]),
            ({"search": "LOW ada"}, ["rule low score"]),
            ({"search": "%"}, []),
            ({"kind": "rule"}, ["rule low score"]),
            ({"actor": "ada@bank.example"}, ["rule low score", "pager"]),
            ({"action": "channel.create"}, ["pager"]),
            ({"first": "2026-03-01", "last": "2026-03-01"}, ["rule low score", "fraud"]),
            ({"last": "2026-02-28"}, []),
        ],
    )
    def test_narrow_the_list(self, client: Client, filters: dict[str, str], expected: list[str]) -> None:
        assert subjects(client, **filters) == expected

    @pytest.mark.parametrize(
        "filters",
        [
            {"first": "soon"},
            {"first": "2026-03-02", "last": "2026-02-01"},
            {"cursor": "made up"},
            {"actor": "\0"},
            {"last": "9999-12-31"},
            {"first": "soon", "last": "later"},
            {"search": "word " * 9},
            {"action": "x" * 70 + "\0"},
        ],
    )
    def test_that_cannot_be_read_are_refused(self, client: Client, filters: dict[str, str]) -> None:
        assert client.get(PAGE, filters).status_code == 400

    def test_of_many_words_are_refused_with_a_sentence(self, client: Client) -> None:
        answer = markup(client.get(PAGE, {"search": "word " * 9}))

        assert "Search for at most 8 words; these are 9." in answer

    def test_an_empty_result_says_what_to_do(self, client: Client) -> None:
        assert "No entry fits. Take a filter away" in markup(client.get(PAGE, {"search": "nothing"}))


def test_a_change_names_the_fields_that_differ(entries: list[AuditEntry]) -> None:
    changes = [(change.field, change.before, change.after) for change in changes_of(entries[0])]

    assert changes == [("threshold", 0.5, 0.7)]
    assert changes_of(entries[2]) == []


def test_older_entries_are_on_further_pages(client: Client, project: Project) -> None:
    for number in range(60):
        record_audit(project=project, actor="ada", action="rule.create", subject=f"rule {number}")

    first = client.get(PAGE)
    older = client.get(f"{PAGE}{first.context['older_url']}")

    shown = [entry.subject for entry, _ in (*first.context["rows"], *older.context["rows"])]
    assert len(first.context["rows"]) == 50
    assert len(shown) == len(set(shown)) == AuditEntry.objects.filter(project=project).count()


class TestExport:
    def test_has_a_line_an_entry_and_leaves_one(self, client: Client, project: Project) -> None:
        answer: Any = client.get(f"{PAGE}/export", {"kind": "rule"})

        lines = [json.loads(line) for line in answer.getvalue().splitlines()]
        assert [(line["action"], line["after"]["threshold"]) for line in lines] == [("rule.update", 0.7)]
        assert answer["Content-Disposition"] == 'attachment; filename="bank-audit.jsonl"'
        assert AuditEntry.objects.get(action="audit.export").after == {"entries": 1, "kind": "rule"}

    def test_is_not_made_for_who_asks_for_its_head(self, client: Client) -> None:
        assert client.head(f"{PAGE}/export").status_code == 200
        assert not AuditEntry.objects.filter(action="audit.export").exists()

    def test_reads_batches_until_the_end(self, project: Project, tmp_path: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr("driftline.base.accounts.audit.trail._BATCH", 2)
        for number in range(5):
            record_audit(project=project, actor="ada", action="rule.create", subject=f"rule {number}")
        with (tmp_path / "out").open("w+b") as sink:
            count = export_entries(project=project, wanted=AuditFilter(kind="rule"), sink=sink, actor="ada")
            sink.seek(0)
            written = [json.loads(line)["subject"] for line in sink]

        assert (count, written) == (6, ["rule low score", *(f"rule {number}" for number in range(5))])


class TestChain:
    def test_that_holds_is_said_to(self, client: Client) -> None:
        seal_entries()

        assert "The chain over the trail holds" in markup(client.get(PAGE))

    def test_that_was_broken_is_said_to_be_without_the_entry_of_another_project(
        self, client: Client, entries: list[AuditEntry]
    ) -> None:
        other = create_project(slug="shop", name="Shop", owner=User.objects.create_user("eve@shop.example"))
        secret = record_audit(project=other, actor="eve", action="secret.act", subject="hidden")
        seal_entries()
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE accounts_auditentry DISABLE TRIGGER USER")
            cursor.execute("UPDATE accounts_auditentry SET actor = 'mallory' WHERE id = %s", [secret.pk])
            cursor.execute("ALTER TABLE accounts_auditentry ENABLE TRIGGER USER")

        shown = markup(client.get(PAGE))

        assert "The chain over the trail does not hold" in shown
        assert "secret.act" not in shown

    def test_that_is_too_long_is_left_to_the_command(self, client: Client, monkeypatch: Any) -> None:
        monkeypatch.setattr("driftline.base.accounts.audit.trail.MAX_CHECKED", 1)
        seal_entries()

        assert "too many to check on a page" in markup(client.get(PAGE))


class TestWhoMayRead:
    def test_is_an_admin(self, project: Project) -> None:
        viewer = viewer_of(project)

        assert (viewer.get(PAGE).status_code, viewer.get(f"{PAGE}/export").status_code) == (403, 403)
        assert ">Audit<" not in markup(viewer.get("/settings/tokens"))

    def test_sees_no_entry_of_another_project(self, client: Client) -> None:
        other = create_project(slug="shop", name="Shop", owner=User.objects.create_user("eve@shop.example"))
        record_audit(project=other, actor="eve", action="secret.act", subject="hidden")

        exported: Any = client.get(f"{PAGE}/export")
        assert "secret.act" not in markup(client.get(PAGE))
        assert "secret.act" not in exported.getvalue().decode()
