"""Audit entries as OpenTelemetry logs, read by the classes of the specification."""

import json
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from driftline.base.accounts.models import AuditExport, AuditReceiver
from driftline.operations.audit_export.configured import configured_receivers
from driftline.operations.audit_export.receivers import NotReceived
from driftline.operations.audit_export.sending import AuditSender, claim_export, exports_to_send
from tests.certificates import make_certificate
from tests.driftline.operations.audit_export.conftest import Record, send_all
from tests.driftline.operations.audit_export.otlp_collector import OtlpCollector, attributes_of
from tests.ports import free_port


@pytest.mark.slow
def test_every_entry_comes_once_in_order_with_what_it_changed(record: Record, settings: Any) -> None:
    entries = record(250)

    with OtlpCollector() as collector:
        settings.AUDIT_OTLP = collector.url
        send_all(AuditReceiver.OTLP)

    assert collector.numbers == [entry.number for entry in entries]
    assert collector.resources[0]["service.name"] == "driftline"
    first, entry = collector.records[0], entries[0]
    assert first.event_name == "rule.update"
    assert first.time_unix_nano == int(entry.at.timestamp()) * 10**9 + entry.at.microsecond * 1_000
    attributes = attributes_of(first)
    assert json.loads(attributes.pop("driftline.audit.changes")) == [
        {"field": "threshold", "before": 0.5, "after": 0.7}
    ]
    assert attributes == {
        "driftline.audit.id": entry.pk, "driftline.audit.number": 1, "driftline.audit.hash": entry.hash,
        "driftline.audit.digest": entry.digest, "driftline.audit.project": "bank",
        "driftline.audit.actor": "ada@bank.example", "driftline.audit.action": "rule.update",
        "driftline.audit.subject": "rule 0",
    }  # fmt: skip


@pytest.mark.parametrize("status", [302, 400, 429, 503])
def test_a_batch_that_is_not_accepted_is_sent_again(record: Record, settings: Any, status: int) -> None:
    record(1)

    with OtlpCollector(status) as collector:
        settings.AUDIT_OTLP = collector.url
        with pytest.raises(NotReceived, match=f"answered {status}"):
            send_all(AuditReceiver.OTLP)
        send_all(AuditReceiver.OTLP)

    assert collector.numbers == [1]


def test_entries_that_a_collector_rejects_are_not_passed_over(record: Record, settings: Any) -> None:
    record(3)

    with OtlpCollector(rejects=[1, 2, 3]) as collector:
        settings.AUDIT_OTLP = collector.url
        with pytest.raises(NotReceived, match=r"entry 1: .* rejected 1 entries of a batch: too long"):
            send_all(AuditReceiver.OTLP)

    assert AuditExport.objects.get().position == 0


def send_by(sender: AuditSender) -> None:
    while sender.send_batch():
        pass


@pytest.mark.slow
@pytest.mark.parametrize("answer", [200, 400, 413])
def test_an_entry_that_a_collector_rejects_waits_alone_after_those_before_it(
    record: Record, settings: Any, answer: int
) -> None:
    record(450)

    with OtlpCollector(rejects=[330], rejects_by=answer) as collector:
        settings.AUDIT_OTLP = collector.url
        lease = claim_export(exports_to_send().get().pk)
        assert lease
        sender = AuditSender(lease, configured_receivers()[AuditReceiver.OTLP], threading.Event())
        with pytest.raises(NotReceived, match=f"entry 330: .*({answer}|rejected 1)"):
            send_by(sender)
        sent = len(collector.batches)
        with pytest.raises(NotReceived, match="entry 330"):
            sender.send_batch()
        assert collector.batches[sent:] == [[330]]
        assert AuditExport.objects.get().position == 329
        collector.rejects.clear()
        send_by(sender)

    assert set(collector.numbers) == set(range(1, 451))
    assert AuditExport.objects.get().position == 450


def test_an_answer_of_something_else_is_not_believed(record: Record, settings: Any) -> None:
    record(1)

    with OtlpCollector(content=b"<html>Sign in") as portal:
        settings.AUDIT_OTLP = portal.url
        with pytest.raises(NotReceived, match="not as an OTLP collector does"):
            send_all(AuditReceiver.OTLP)


def test_the_headers_are_those_of_the_file_at_the_time(record: Record, settings: Any, tmp_path: Path) -> None:
    headers = settings.AUDIT_OTLP_HEADERS_FILE = tmp_path / "headers"
    headers.write_text("Authorization: Bearer first\nX-Tenant: bank\n")
    record(1)

    with OtlpCollector() as collector:
        settings.AUDIT_OTLP = collector.url
        send_all(AuditReceiver.OTLP)
        headers.write_text("Authorization: Bearer second\n")
        record(1)
        send_all(AuditReceiver.OTLP)

    assert [one["authorization"] for one in collector.headers] == ["Bearer first", "Bearer second"]
    assert collector.headers[0]["x-tenant"] == "bank"


def test_a_file_of_headers_that_cannot_be_used_is_named_without_what_it_holds(
    record: Record, settings: Any, tmp_path: Path
) -> None:
    headers = settings.AUDIT_OTLP_HEADERS_FILE = tmp_path / "headers"
    headers.write_text("a-secret\n")
    settings.AUDIT_OTLP = f"http://127.0.0.1:{free_port()}"
    record(1)

    with pytest.raises(NotReceived, match=r"line 1 of .*headers is not of the form") as failure:
        send_all(AuditReceiver.OTLP)

    assert "a-secret" not in str(failure.value)


def test_a_collector_with_tls_is_known_by_the_authority_of_the_settings(
    record: Record, settings: Any, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    record(2)

    with OtlpCollector(tls=context) as collector:
        settings.AUDIT_OTLP = collector.url
        with pytest.raises(NotReceived):
            send_all(AuditReceiver.OTLP)
        settings.AUDIT_EXPORT_CA = certificate
        send_all(AuditReceiver.OTLP)

    assert collector.numbers == [1, 2]
