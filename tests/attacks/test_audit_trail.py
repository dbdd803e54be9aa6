"""Attacks on the audit trail: by whoever may write to the database, with its triggers on, and with them off."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client

from driftline.base.accounts.audit.chain import FIRST_HASH, ChainHead, check_chain, seal_entries, write_anchor
from driftline.base.accounts.models import AuditEntry, Project, User
from driftline.base.accounts.services import create_project, record_audit, redact_audit
from driftline.operations.invariants import check_all
from driftline.operations.services.diagnosis import diagnose
from driftline.operations.services.paths import home_paths
from tests.driftline.api.conftest import Api, caller
from tests.pages_client import PagesClient


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture
def project(db: None) -> Project:
    return create_project(slug="bank", name="Bank", owner=User.objects.create_user("ada@bank.example"))


def record(project: Project, count: int) -> list[AuditEntry]:
    """Write entries, seal them, and note the chain's end in the home as commits do."""
    made = [
        record_audit(
            project=project, actor="ada", action="model.update", subject=f"model {number}",
            before={"autonomy": "approve"}, after={"autonomy": "auto"},
        )
        for number in range(count)
    ]  # fmt: skip
    seal_entries()
    note_end()
    return made


def note_end() -> None:
    newest = AuditEntry.objects.exclude(number=None).latest("number")
    from django.conf import settings

    write_anchor(settings.HOME, ChainHead(newest.number or 0, newest.hash))


@contextmanager
def triggers_off() -> Iterator[Any]:
    """Do what a superuser can do."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_auditentry DISABLE TRIGGER USER")
        yield cursor
        cursor.execute("ALTER TABLE accounts_auditentry ENABLE TRIGGER USER")


def verify(*arguments: str) -> tuple[int, str]:
    """Run the command; gives its exit code and its last line."""
    said = StringIO()
    try:
        call_command("verify_audit", *arguments, stdout=said)
    except SystemExit as end:
        return int(end.code or 0), said.getvalue().splitlines()[-1]
    return 0, said.getvalue().splitlines()[-1]


class TestTheRoleOfTheApplication:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE accounts_auditentry SET actor = 'nobody'",
            "UPDATE accounts_auditentry SET after = NULL",
            "UPDATE accounts_auditentry SET subject = '[erased]'",
            "UPDATE accounts_auditentry SET at = now()",
            "UPDATE accounts_auditentry SET project_id = NULL",
            "UPDATE accounts_auditentry SET number = number + 100, hash = 'x'",
            "UPDATE accounts_auditentry SET number = NULL, hash = '', digest = ''",
            "UPDATE accounts_auditentry SET salt = gen_random_uuid()",
            "DELETE FROM accounts_auditentry",
            "TRUNCATE accounts_auditentry",
            "INSERT INTO accounts_auditentry (actor, action, subject, project_slug, address, token_name, correlation, "
            "number, digest, hash) VALUES ('a', 'b', 'c', '', '', '', '', 99, 'd', 'e')",
        ],
    )
    def test_cannot_rewrite_the_trail(self, project: Project, statement: str) -> None:
        """A stolen connection of the application, or an injection, changes, deletes or empties the trail."""
        record(project, 3)
        before = list(AuditEntry.objects.order_by("pk").values())

        with pytest.raises(DatabaseError, match="audit trail is only added to"), transaction.atomic():
            connection.cursor().execute(statement)

        assert list(AuditEntry.objects.order_by("pk").values()) == before
        assert verify()[0] == 0

    def test_cannot_blank_an_entry_that_no_redaction_names(self, project: Project) -> None:
        """The door of erasures is tried without the entry that tells of one, and with another text than `[erased]`."""
        first, second = record(project, 2)
        redaction = record_audit(
            project=project,
            actor="x",
            action="audit.redact",
            subject="1",
            after={"entries": {str(first.pk): ""}},
        )

        for target, subject in ((second, "[erased]"), (first, "a lie")):
            with pytest.raises(DatabaseError, match="only added to"), transaction.atomic():
                AuditEntry.objects.filter(pk=target.pk).update(
                    subject=subject, salt="00000000-0000-0000-0000-000000000000", redaction=redaction
                )

    def test_may_delete_a_project_and_a_person_whose_acts_stay(self, project: Project) -> None:
        record(project, 1)

        project.delete()
        User.objects.all().delete()

        kept = AuditEntry.objects.order_by("pk")
        assert [(one.project_slug, one.actor) for one in kept] == [
            ("bank", "ada@bank.example"),
            ("bank", "ada"),
        ]
        assert verify()[0] == 0


class TestWhoeverDisablesTheTriggers:
    def test_is_found_by_a_changed_entry(self, project: Project) -> None:
        """A superuser rewrites what an act did."""
        record(project, 3)
        with triggers_off() as cursor:
            cursor.execute("UPDATE accounts_auditentry SET after = '{}' WHERE number = 3")

        code, said = verify()

        entry = AuditEntry.objects.get(number=3)
        assert (code, said) == (
            1,
            f"BROKEN: entry 3 (model.update, id {entry.pk}) is not what was sealed; "
            "4 entries, 4 sealed, 0 redacted.",
        )
        assert [one.counts for one in check_all() if not one.holds] == [
            said[len("BROKEN: ") :].partition(";")[0]
        ]
        mended = [one for one in diagnose(home_paths(_home())) if one.subject == "audit trail"]
        assert not mended[0].is_fine

    @pytest.mark.parametrize(
        "column", ["actor", "action", "address", "correlation", "project_slug", "token_name"]
    )
    def test_is_found_whichever_column_changed(self, project: Project, column: str) -> None:
        record(project, 2)
        with triggers_off() as cursor:
            cursor.execute(f"UPDATE accounts_auditentry SET {column} = 'x' WHERE number = 2")

        assert "is not what was sealed" in verify()[1]

    def test_is_found_by_a_removed_entry(self, project: Project) -> None:
        record(project, 3)
        with triggers_off() as cursor:
            cursor.execute("DELETE FROM accounts_auditentry WHERE number = 2")

        code, said = verify()

        assert code == 1
        assert said.startswith("BROKEN: entry 2 is missing: the next one is entry 3 (")

    def test_is_found_by_a_tail_that_was_cut_off_also_once_others_followed(self, project: Project) -> None:
        """The newest entries go, and the application goes on: the home still knows that there were more."""
        record(project, 3)
        with triggers_off() as cursor:
            cursor.execute("DELETE FROM accounts_auditentry WHERE number > 2")

        at_once = verify()
        for number in range(5):
            record_audit(project=project, actor="bob", action="x", subject=str(number))
        seal_entries()
        later = verify()

        assert at_once == (1, at_once[1])
        assert "entry 4, the newest that this home knew, is missing" in at_once[1]
        assert later[0] == 1
        assert "entry 4, the newest that this home knew" in later[1]

    def test_is_found_by_a_chain_that_was_computed_anew(self, project: Project) -> None:
        """An entry is changed and every hash after it is made right: only what was noted elsewhere differs."""
        record(project, 3)
        noted = verify()[1].rpartition(" ")[2].rstrip(".")
        with triggers_off() as cursor:
            cursor.execute("UPDATE accounts_auditentry SET actor = 'nobody' WHERE number = 2")
            cursor.execute("UPDATE accounts_auditentry SET number = NULL, digest = '', hash = ''")
        seal_entries()

        by_home = verify()
        (_home() / "audit").rename(_home() / "lost")
        without_home, by_note = verify(), verify("--expect", noted)

        assert "has another hash" in by_home[1]
        assert without_home[0] == 0
        assert by_note[0] == 1
        assert "the newest that you knew" in by_note[1]

    def test_is_found_by_triggers_that_stay_off(self, project: Project) -> None:
        record(project, 1)
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE accounts_auditentry DISABLE TRIGGER audit_is_only_added_to")

        assert "the trigger audit_is_only_added_to is missing or disabled" in verify()[1]

    def test_leaves_a_restored_backup_to_be_accepted_once_and_in_the_trail(self, project: Project) -> None:
        record(project, 3)
        with triggers_off() as cursor:
            cursor.execute("DELETE FROM accounts_auditentry WHERE number > 2")

        before, accepted, after = verify(), verify("--accept-restored"), verify()

        assert (before[0], accepted[0], after[0]) == (1, 0, 0)
        entry = AuditEntry.objects.get(action="audit.accept_restored")
        assert (entry.before or {})["number"] == 4


class TestConcurrentWriters:
    @pytest.mark.django_db(transaction=True)
    def test_make_one_chain_without_gaps_while_transactions_stay_open(self, project: Project) -> None:
        """Eight writers at once, half of whom give up, while one transaction that wrote first commits last."""
        wrote, may_commit = threading.Event(), threading.Event()

        def slow() -> None:
            with transaction.atomic():
                record_audit(project=project, actor="slow", action="x", subject="first")
                wrote.set()
                may_commit.wait(60)
            connection.close()

        def quick(name: str) -> None:
            for number in range(10):
                with transaction.atomic():
                    record_audit(project=project, actor=name, action="x", subject=str(number))
                    transaction.set_rollback(number % 2 == 1)
            connection.close()

        first = threading.Thread(target=slow)
        first.start()
        assert wrote.wait(60)
        writers = [threading.Thread(target=quick, args=(f"writer {place}",)) for place in range(8)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60)
        seal_entries()
        before = check_chain(_home())
        may_commit.set()
        first.join(60)
        seal_entries()
        after = check_chain(_home())

        assert (before.broken, before.sealed) == ("", 41)
        assert (after.broken, after.entries, after.sealed) == ("", 42, 42)
        assert AuditEntry.objects.get(actor="slow").number == 42
        assert list(AuditEntry.objects.order_by("number").values_list("number", flat=True)) == [*range(1, 43)]

    @pytest.mark.django_db(transaction=True)
    def test_are_sealed_as_they_commit_and_noted_in_the_home(self, project: Project) -> None:
        entry = record_audit(project=project, actor="ada", action="x", subject="y")

        entry.refresh_from_db()
        assert entry.number == 2
        assert f'"number": 2, "hash": "{entry.hash}"' in next((_home() / "audit").iterdir()).read_text()


class TestAnErasure:
    def test_takes_a_name_out_and_the_chain_holds_and_tells_of_it(self, project: Project) -> None:
        kept, named = record(project, 2)
        before = AuditEntry.objects.get(pk=named.pk)

        redact_audit(project=project, actor="erasure", fields={named.pk: ["subject", "before"]})
        seal_entries()

        now = AuditEntry.objects.get(pk=named.pk)
        assert (now.subject, now.before, now.after) == ("[erased]", "[erased]", {"autonomy": "auto"})
        assert (now.hash, now.actor) == (before.hash, "ada")
        assert now.salt != before.salt  # so nobody finds the name by trying
        assert AuditEntry.objects.get(pk=kept.pk).subject == "model 0"
        told = AuditEntry.objects.get(action="audit.redact")
        assert list((told.after or {})["entries"]) == [str(named.pk)]
        assert verify() == (0, verify()[1])
        assert "4 entries, 4 sealed, 1 redacted" in verify()[1]

    def test_reaches_an_entry_before_it_is_sealed_and_twice(self, project: Project) -> None:
        entry = record_audit(project=project, actor="ada", action="x", subject="Zoe", after=["Zoe"])

        redact_audit(project=project, actor="erasure", fields={entry.pk: ["subject"]})
        seal_entries()
        redact_audit(project=project, actor="erasure", fields={entry.pk: ["after"]})
        seal_entries()

        entry.refresh_from_db()
        assert (entry.subject, entry.after) == ("[erased]", "[erased]")
        assert verify()[0] == 0

    def test_is_no_cover_for_another_change(self, project: Project) -> None:
        record(project, 2)
        redact_audit(project=project, actor="erasure", fields={_second(): ["subject"]})
        seal_entries()
        with triggers_off() as cursor:
            cursor.execute("UPDATE accounts_auditentry SET after = '{}' WHERE number = 2")

        assert "entry 2 (model.update" in verify()[1]


class TestWhereAnActComesFrom:
    @pytest.fixture
    def api(self, db: None) -> Api:
        return caller("bank")

    def test_an_act_of_a_program_carries_address_token_and_request(self, api: Api) -> None:
        answer = api.client.post(
            "/api/v1/models", b'{"name": "m", "task": "binary"}', content_type="application/json",
            headers={"Authorization": f"Bearer {api.text}", "X-Request-Id": "asked-4711"}, REMOTE_ADDR="192.0.2.7",
        )  # fmt: skip

        assert answer.status_code == 201
        entry = AuditEntry.objects.get(action="model.create")
        assert (entry.address, entry.token_id, entry.token_name) == ("192.0.2.7", api.token.pk, "test")
        assert entry.correlation == "asked-4711" == answer["X-Request-Id"]
        assert api.text[11:] not in str(AuditEntry.objects.values_list())

    def test_an_act_of_a_person_carries_address_and_request_and_no_token_of_before(self, api: Api) -> None:
        api.get("/models")
        browser = PagesClient()
        browser.force_login(User.objects.get(email="owner@bank.example"))

        answer = browser.post(
            "/models/new", {"name": "m", "task": "binary", "autonomy": "approve"}, REMOTE_ADDR="192.0.2.8"
        )

        entry = AuditEntry.objects.get(action="model.create")
        assert (entry.address, entry.token_id) == ("192.0.2.8", None)
        assert entry.correlation == answer["X-Request-Id"]

    @pytest.mark.parametrize(("proxies", "address"), [(["192.0.2.0/24"], "203.0.113.9"), ([], "192.0.2.7")])
    def test_an_act_behind_a_proxy_carries_the_address_that_a_trusted_one_tells(
        self, api: Api, settings: Any, proxies: list[str], address: str
    ) -> None:
        """A client writes an address of its own choice in front, which nobody vouches for."""
        settings.TRUSTED_PROXIES = proxies

        api.client.post(
            "/api/v1/models", b'{"name": "m", "task": "binary"}', content_type="application/json",
            headers={"Authorization": f"Bearer {api.text}", "X-Forwarded-For": "198.51.100.1, 203.0.113.9"},
            REMOTE_ADDR="192.0.2.7",
        )  # fmt: skip

        assert AuditEntry.objects.get(action="model.create").address == address

    def test_an_act_of_a_command_carries_nothing_of_a_request_before(self, api: Api) -> None:
        api.get("/models")

        entry = record_audit(project=api.project, actor="command line", action="x", subject="y")

        assert (entry.address, entry.token_id, entry.correlation) == ("", None, "")

    def test_the_chain_begins_where_nothing_was(self, db: None, home: Path) -> None:
        assert check_chain(home).head == ChainHead(0, FIRST_HASH)


class TestTheList:
    @pytest.fixture
    def api(self, db: None) -> Api:
        return caller("bank")

    @pytest.mark.slow
    def test_shows_an_admins_token_what_was_done_in_its_project_alone(self, api: Api) -> None:
        stranger = caller("theirs")
        record(api.project, 3)
        record_audit(project=stranger.project, actor="eve", action="x", subject="y")

        found = api.get("/audit?action=model.update&limit=2").json()
        rest = api.get(f"/audit?action=model.update&limit=2&cursor={found['next']}").json()
        others = stranger.get("/audit").json()["items"]

        items = found["items"] + rest["items"]
        assert [item["subject"] for item in items] == ["model 2", "model 1", "model 0"]
        assert (items[0]["actor"], items[0]["after"], items[0]["redacted"]) == (
            "ada",
            {"autonomy": "auto"},
            False,
        )
        assert items[0]["number"] == AuditEntry.objects.get(subject="model 2").number
        assert {item["actor"] for item in others} == {"owner@theirs.example", "test", "eve"}
        assert api.get("/audit?from=yesterday").json()["code"] == "invalid_parameter"
        assert api.get("/audit?from=-1h&to=now&actor=nobody").json()["items"] == []

    def test_is_read_only_in_the_admin(self, api: Api) -> None:
        record(api.project, 1)
        staff = Client()
        staff.force_login(User.objects.create_superuser("root@bank.example"))

        listed = staff.get("/admin/accounts/auditentry/?q=model")
        deleted = staff.post(f"/admin/accounts/auditentry/{_second()}/delete/", {"post": "yes"})

        assert "model 0" in listed.content.decode()
        assert deleted.status_code == 403
        assert AuditEntry.objects.filter(action="model.update").exists()


def _second() -> int:
    return AuditEntry.objects.get(action="model.update", subject="model 0").pk


def _home() -> Path:
    from django.conf import settings

    return Path(settings.HOME)
