"""Entries are sent at least once and in order, whoever is killed or away, and one process at a time sends."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test import Client

from driftline.base.accounts.audit.chain import seal_entries
from driftline.base.accounts.models import AuditEntry, AuditExport, AuditReceiver
from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.work.lease import LeaseLost
from driftline.management.commands import consume
from driftline.operations.audit_export import sending
from driftline.operations.audit_export.configured import configured_receivers
from driftline.operations.audit_export.selectors import export_statuses
from driftline.operations.audit_export.sending import AuditSender, claim_export, exports_to_send
from driftline.settings.environment import CHECKOUT
from tests.driftline.operations.audit_export.conftest import Record, send_all
from tests.driftline.operations.audit_export.otlp_collector import OtlpCollector
from tests.driftline.operations.audit_export.syslog_server import SyslogServer
from tests.embedded import subprocess_environment
from tests.ports import free_port
from tests.waiting import wait_until


def start_sender(settings: Any, kind: AuditReceiver, batches: int) -> subprocess.Popen[bytes]:
    module = "tests.driftline.operations.audit_export.dying_sender"
    return subprocess.Popen(
        [sys.executable, "-m", module, connection.settings_dict["NAME"], kind.value, str(batches)],
        cwd=CHECKOUT,
        env=subprocess_environment()
        | {
            "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'platform'}",
            "DJANGO_SETTINGS_MODULE": "driftline.settings",
            "DRIFTLINE_HOME": str(settings.HOME),
            "DRIFTLINE_AUDIT_SYSLOG": settings.AUDIT_SYSLOG,
            "DRIFTLINE_AUDIT_OTLP": settings.AUDIT_OTLP,
        },
    )


def receiver_of(kind: AuditReceiver, settings: Any) -> SyslogServer | OtlpCollector:
    if kind is AuditReceiver.SYSLOG:
        server = SyslogServer()
        settings.AUDIT_SYSLOG = f"tcp://127.0.0.1:{server.port}"
        return server
    collector = OtlpCollector()
    settings.AUDIT_OTLP = collector.url
    return collector


@pytest.mark.django_db(transaction=True)
def test_a_sender_that_is_killed_before_it_notes_a_batch_has_it_sent_again(
    record: Record, settings: Any
) -> None:
    numbers = [entry.number for entry in record(30)]

    with receiver_of(AuditReceiver.OTLP, settings) as server:
        start_sender(settings, AuditReceiver.OTLP, batches=3).wait()
        AuditExport.objects.update(lease_until=None)
        send_all(AuditReceiver.OTLP)

    assert server.numbers == numbers[:15] + numbers[10:]


@pytest.mark.django_db(transaction=True)
def test_a_sender_that_is_killed_anywhere_loses_nothing(record: Record, settings: Any) -> None:
    numbers = [entry.number for entry in record(400)]

    with receiver_of(AuditReceiver.SYSLOG, settings) as server:
        for share in (20, 200):
            sender = start_sender(settings, AuditReceiver.SYSLOG, batches=0)
            wait_until(lambda share=share: len(server.numbers) > share, what="entries at the receiver")  # type: ignore[misc]
            sender.kill()
            sender.wait()
            AuditExport.objects.update(lease_until=None)
        send_all(AuditReceiver.SYSLOG)

    assert list(dict.fromkeys(server.numbers)) == numbers
    assert AuditExport.objects.get().position == numbers[-1]


@pytest.mark.django_db(transaction=True)
def test_an_entry_that_is_committed_late_is_sent_after_those_that_were_not(
    record: Record, settings: Any
) -> None:
    record(0)
    written, may_commit = threading.Event(), threading.Event()

    def write_and_wait() -> int:
        with transaction.atomic():
            late = record_audit(project=None, actor="slow", action="model.import", subject="late")
            written.set()
            may_commit.wait()
        connection.close()
        return late.pk

    with receiver_of(AuditReceiver.SYSLOG, settings) as server, ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write_and_wait)
        written.wait()
        early = record_audit(project=None, actor="quick", action="model.import", subject="early")
        seal_entries()
        send_all(AuditReceiver.SYSLOG)
        may_commit.set()
        late = writing.result()
        seal_entries()
        send_all(AuditReceiver.SYSLOG)

    assert late < early.pk
    assert [message.fields["id"] for message in server.messages] == [str(early.pk), str(late)]  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_what_waited_for_a_receiver_that_was_away_is_sent_when_it_is_back(
    record: Record, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consume, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(sending, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(sending, "MAX_PAUSE_SECONDS", 0.05)
    port, stop = free_port(), threading.Event()
    settings.AUDIT_SYSLOG = f"tcp://127.0.0.1:{port}"
    record(3)
    row = exports_to_send().get()

    def run() -> None:
        consume._read_all(stop)
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until(lambda: AuditExport.objects.exclude(failing_since=None).exists(), what="the failure")
        (away,) = export_statuses(now=now())
        assert (away.waiting, away.error) == (3, f"{settings.AUDIT_SYSLOG}: Connection refused")
        with SyslogServer(port=port) as server:
            wait_until(lambda: AuditExport.objects.filter(position=3).exists(), what="the entries")
    finally:
        stop.set()
        thread.join()

    (back,) = export_statuses(now=now())
    assert server.numbers == [1, 2, 3]
    assert (back.waiting, back.sent, back.error, back.failing_since) == (0, 3, "", None)
    assert exports_to_send().get() == row


def test_one_process_at_a_time_sends_and_one_that_lost_its_lease_notes_nothing(
    record: Record, settings: Any
) -> None:
    record(3)
    with receiver_of(AuditReceiver.SYSLOG, settings) as server:
        row = exports_to_send().get()
        lease = claim_export(row.pk)
        assert lease
        assert claim_export(row.pk) is None
        assert not exports_to_send().exists()
        AuditExport.objects.update(lease_until=Now() - timedelta(seconds=1))
        send_all(AuditReceiver.SYSLOG)

        late = AuditSender(lease, configured_receivers()[AuditReceiver.SYSLOG], threading.Event())
        with pytest.raises(LeaseLost):
            late.send_batch()

    assert server.numbers == [1, 2, 3]


def test_each_receiver_has_a_place_of_its_own(record: Record, settings: Any) -> None:
    record(2)
    with (
        receiver_of(AuditReceiver.SYSLOG, settings) as server,
        receiver_of(AuditReceiver.OTLP, settings) as collector,
    ):
        send_all(AuditReceiver.SYSLOG)
        record(1)
        send_all(AuditReceiver.OTLP)

    assert (server.numbers, collector.numbers) == ([1, 2], [1, 2, 3])
    assert {one.receiver: one.waiting for one in export_statuses(now=now())} == {"syslog": 1, "otlp": 0}


def test_nothing_is_sent_and_shown_where_the_settings_name_no_receiver(record: Record) -> None:
    record(1)

    assert not exports_to_send().exists()
    assert export_statuses(now=now()) == []


class TestCommand:
    def test_sends_what_waits_and_says_how_far_each_is(self, record: Record, settings: Any) -> None:
        record(3)
        output = StringIO()

        with receiver_of(AuditReceiver.SYSLOG, settings) as server:
            call_command("export_audit", stdout=output)

        assert server.numbers == [1, 2, 3]
        assert output.getvalue() == "syslog has entries up to 3; 0 wait.\n"

    def test_sends_again_from_a_number_and_the_trail_says_so(self, record: Record, settings: Any) -> None:
        record(3)

        with receiver_of(AuditReceiver.SYSLOG, settings) as server:
            send_all(AuditReceiver.SYSLOG)
            call_command("export_audit", after=1, stdout=StringIO())

        assert server.numbers[:5] == [1, 2, 3, 2, 3]
        entry = AuditEntry.objects.get(action="audit.export_position")
        assert (entry.subject, entry.before, entry.after) == ("syslog", {"number": 3}, {"number": 1})

    def test_says_why_a_receiver_does_not_take_them(self, record: Record, settings: Any) -> None:
        record(1)
        settings.AUDIT_SYSLOG = f"tcp://127.0.0.1:{free_port()}"

        with pytest.raises(CommandError, match="Connection refused"):
            call_command("export_audit", stdout=StringIO())

    def test_refuses_a_number_that_the_chain_does_not_have(self, record: Record, settings: Any) -> None:
        record(3)
        settings.AUDIT_SYSLOG = "tcp://127.0.0.1:9"

        with pytest.raises(CommandError, match="use a number from 0 to 3"):
            call_command("export_audit", after=4, stdout=StringIO())

    def test_without_a_receiver_says_what_to_set(self, db: None) -> None:
        with pytest.raises(CommandError, match="Set DRIFTLINE_AUDIT_SYSLOG"):
            call_command("export_audit", stdout=StringIO())


def test_metrics_say_how_far_behind_a_receiver_is(record: Record, settings: Any, client: Client) -> None:
    settings.AUDIT_SYSLOG = "tcp://127.0.0.1:9"
    record(2)
    exports_to_send()
    AuditExport.objects.update(failing_since=now(), error="Connection refused")

    lines = client.get("/metrics").content.decode().splitlines()

    assert 'driftline_audit_export_waiting_entries{receiver="syslog"} 2.0' in lines
    assert any(
        one.startswith('driftline_audit_export_failing_since_timestamp_seconds{receiver="sys')
        for one in lines
    )
