"""Audit entries as syslog, read by a server that knows RFC 5424 and not how Driftline writes it."""

import hashlib
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.base.accounts.models import AuditExport, AuditReceiver
from driftline.operations.audit_export import syslog
from driftline.operations.audit_export.receivers import NotReceived
from driftline.operations.audit_export.records import AuditRecord
from driftline.operations.audit_export.syslog import format_message
from tests.certificates import make_certificate
from tests.driftline.operations.audit_export.conftest import Record, send_all
from tests.driftline.operations.audit_export.syslog_server import SyslogServer, parse_message
from tests.ports import free_port


def make_record(**values: Any) -> AuditRecord:
    given_values = {
        "id": 7, "number": 3, "hash": "a" * 64, "digest": "b" * 64, "at": datetime(2026, 3, 1, 12, 0, 0, 5, UTC),
        "project": "bank", "actor": "ada@bank.example", "action": "rule.update", "subject": "rule", "address": "",
        "token_id": None, "token": "", "correlation": "", "redacted": False, "changes": "[]",
    }  # fmt: skip
    return AuditRecord(**given_values | values)


def tls_server(folder: Path, *, ask: bool = False) -> tuple[ssl.SSLContext, Path, Path]:
    """Make the server's context, the file of its authority, and one of a certificate with its key."""
    certificate, key = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if ask:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate)
    both = folder / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    return context, certificate, both


# -- the message -------------------------------------------------------------------------------------------------------
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_comes_back_whole_in_the_document_and_printable_in_the_structured_data(text: str) -> None:
    message = parse_message(format_message(make_record(actor=text, subject=text, action=text), host=text))

    assert message.document.get("actor", "") == text
    assert message.fields.get("actor", "") == "".join(one if one.isprintable() else " " for one in text)
    assert message.fields["number"] == "3"


def test_the_header_says_who_when_and_what() -> None:
    message = parse_message(format_message(make_record(), host="server-1"))

    assert (message.priority, message.time) == (13 * 8 + 5, "2026-03-01T12:00:00.000005Z")
    assert (message.host, message.app, message.id) == ("server-1", "driftline", "rule.update")


def test_a_datagram_that_would_be_too_long_comes_without_its_changes_and_says_so() -> None:
    changes = '[{"field": "x", "before": null, "after": "' + 70_000 * "x" + '"}]'

    message = parse_message(format_message(make_record(changes=changes), host="h", max_bytes=60_000))

    assert "changes" not in message.document
    assert message.document["changes_omitted"] is True


# -- the receivers -----------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_every_entry_comes_once_in_order_with_what_it_changed(
    record: Record, settings: Any, tmp_path: Path, scheme: str
) -> None:
    context, settings.AUDIT_EXPORT_CA, _ = tls_server(tmp_path)
    entries = record(450)

    with SyslogServer(tls=context if scheme == "tls" else None) as server:
        settings.AUDIT_SYSLOG = f"{scheme}://localhost:{server.port}"
        send_all(AuditReceiver.SYSLOG)

    assert [message.fields["id"] for message in server.messages] == [str(entry.pk) for entry in entries]
    last = server.messages[-1]
    assert (last.fields["project"], last.fields["subject"]) == ("bank", "rule 449")
    assert last.document["changes"] == [{"field": "threshold", "before": 0.5, "after": 0.7}]


def test_what_came_proves_by_its_hashes_that_nothing_is_missing(record: Record, settings: Any) -> None:
    record(5)

    with SyslogServer() as server:
        settings.AUDIT_SYSLOG = f"tcp://127.0.0.1:{server.port}"
        send_all(AuditReceiver.SYSLOG)

    link = "0" * 64
    for message in server.messages:
        link = hashlib.sha256(f"{link} {message.number} {message.fields['digest']}".encode()).hexdigest()
        assert message.fields["hash"] == link


def test_datagrams_bring_one_entry_each(record: Record, settings: Any) -> None:
    entries = record(3)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20)
        settings.AUDIT_SYSLOG = f"udp://127.0.0.1:{receiver.getsockname()[1]}"
        send_all(AuditReceiver.SYSLOG)
        messages = [parse_message(receiver.recv(65_535)) for _ in entries]

    assert [message.number for message in messages] == [entry.number for entry in entries]


def test_a_receiver_that_dies_within_a_batch_gets_the_batch_again(record: Record, settings: Any) -> None:
    entries = record(100)

    with SyslogServer(reset_after=4_000) as server:
        settings.AUDIT_SYSLOG = f"tcp://127.0.0.1:{server.port}"
        with pytest.raises(NotReceived):
            send_all(AuditReceiver.SYSLOG)
        assert AuditExport.objects.get().position == 0
        send_all(AuditReceiver.SYSLOG)

    numbers = [entry.number for entry in entries]
    assert server.numbers[-100:] == numbers
    assert 0 < len(server.numbers[:-100]) < 100


def test_a_receiver_that_ends_tcp_in_order_after_tls_has_what_it_read(
    record: Record, settings: Any, tmp_path: Path
) -> None:
    context, settings.AUDIT_EXPORT_CA, _ = tls_server(tmp_path)
    record(3)

    with SyslogServer(tls=context, says_farewell=False) as server:
        settings.AUDIT_SYSLOG = f"tls://localhost:{server.port}"
        send_all(AuditReceiver.SYSLOG)

    assert server.numbers == [1, 2, 3]
    assert AuditExport.objects.get().position == 3


@pytest.mark.slow
def test_a_receiver_that_resets_tls_within_a_batch_gets_the_batch_again(
    record: Record, settings: Any, tmp_path: Path
) -> None:
    context, settings.AUDIT_EXPORT_CA, _ = tls_server(tmp_path)
    record(100)

    with SyslogServer(tls=context, reset_after=4_000) as server:
        settings.AUDIT_SYSLOG = f"tls://localhost:{server.port}"
        with pytest.raises(NotReceived):
            send_all(AuditReceiver.SYSLOG)
        assert AuditExport.objects.get().position == 0
        send_all(AuditReceiver.SYSLOG)

    assert server.numbers[-100:] == list(range(1, 101))


def test_a_receiver_that_asks_for_a_certificate_gets_the_one_of_the_settings(
    record: Record, settings: Any, tmp_path: Path
) -> None:
    context, settings.AUDIT_EXPORT_CA, both = tls_server(tmp_path, ask=True)
    record(3)

    with SyslogServer(tls=context) as server:
        settings.AUDIT_SYSLOG = f"tls://localhost:{server.port}"
        with pytest.raises(NotReceived):
            send_all(AuditReceiver.SYSLOG)
        assert AuditExport.objects.get().position == 0
        settings.AUDIT_EXPORT_CERTIFICATE = both
        send_all(AuditReceiver.SYSLOG)

    assert server.numbers == [1, 2, 3]


def test_a_receiver_of_an_unknown_authority_gets_nothing(
    record: Record, settings: Any, tmp_path: Path
) -> None:
    context, _, _ = tls_server(tmp_path)
    record(3)

    with SyslogServer(tls=context) as server:
        settings.AUDIT_SYSLOG = f"tls://localhost:{server.port}"
        with pytest.raises(NotReceived, match="its certificate is not accepted: self-signed certificate"):
            send_all(AuditReceiver.SYSLOG)

    assert not server.messages


@pytest.mark.slow
def test_a_receiver_that_keeps_the_connection_open_is_not_believed(
    record: Record, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog, "SEND_SECONDS", 0.2)
    record(3)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.AUDIT_SYSLOG = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(NotReceived, match="did not answer in time"):
            send_all(AuditReceiver.SYSLOG)

    assert AuditExport.objects.get().position == 0


def test_a_receiver_that_is_away_is_named(record: Record, settings: Any) -> None:
    settings.AUDIT_SYSLOG = f"tcp://127.0.0.1:{free_port()}"
    record(1)

    with pytest.raises(NotReceived, match=r"^tcp://127.0.0.1:\d+: Connection refused"):
        send_all(AuditReceiver.SYSLOG)
