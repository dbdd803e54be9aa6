"""One request to a stranger: rows 75 to 78 of the bad-input catalogue, against real sockets."""

import ipaddress
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from driftline.base.outbound.transport import READ_CAP
from monitors.alerts.channels.base import DeliveryFailed
from monitors.alerts.channels.webhook.transport import post
from tests.monitors.alerts.receiver import Answer, Receiver, endless, hang_up, only_continue, trickle

DEADLINE = 0.5


def send(receiver: Receiver, **options: Any) -> Any:
    return post(receiver.url, body=b"{}", headers={}, **options)


def failure(receiver: Receiver, **options: Any) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as failed:
        send(receiver, **options)
    return failed.value


class TestAnswers:
    def test_takes_any_2xx(self, receiver: Receiver) -> None:
        receiver.answers = [Answer(204, {"Content-Length": "0"}, b"")]

        assert send(receiver).status == 204

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_follows_no_redirect(self, receiver: Receiver, status: int) -> None:
        receiver.answers = [Answer(status, {"Location": receiver.url + "/loopback"})]

        failed = failure(receiver)

        assert (failed.status, str(failed).partition(":")[0]) == (status, "redirect_refused")
        assert len(receiver.received) == 1

    def test_gone_is_permanent(self, receiver: Receiver) -> None:
        receiver.answers = [Answer(410)]

        failed = failure(receiver)

        assert (failed.status, failed.permanent) == (410, True)

    @pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
    def test_other_refusals_are_not(self, receiver: Receiver, status: int) -> None:
        receiver.answers = [Answer(status, body=b"not now")]

        failed = failure(receiver)

        assert (failed.status, failed.permanent) == (status, False)
        assert "not now" in str(failed)

    @pytest.mark.parametrize(
        ("header", "wait"),
        [
            ("120", timedelta(minutes=2)),
            ("99999999999999999999", None),
            ("999999999", timedelta(days=1)),
            ("-5", None),
            ("soon", None),
            ("Fri, 01 Jan 2010 00:00:00 GMT", timedelta()),
        ],
    )
    def test_reads_retry_after(self, receiver: Receiver, header: str, wait: timedelta | None) -> None:
        receiver.answers = [Answer(429, {"Retry-After": header})]

        assert failure(receiver).retry_after == wait


class TestLimits:
    @pytest.mark.parametrize(
        "answer",
        [
            trickle(b"HTTP/1.1 200 OK\r\nSlow: "),
            trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
            only_continue,
        ],
        ids=["slow headers", "slow body", "100 continue"],
    )
    def test_a_slow_receiver_is_cut_off_at_the_deadline(self, receiver: Receiver, answer: Any) -> None:
        receiver.answers = [answer]
        started = time.monotonic()

        failed = failure(receiver, deadline=DEADLINE)

        assert str(failed).startswith("timeout")
        assert time.monotonic() - started >= DEADLINE

    def test_an_endless_body_is_read_up_to_the_cap(self, receiver: Receiver) -> None:
        receiver.answers = [endless]

        receipt = send(receiver)

        assert (receipt.status, receipt.answer) == (200, "x" * READ_CAP)

    def test_a_packed_body_is_not_unpacked(self, receiver: Receiver) -> None:
        receiver.answers = [Answer(200, {"Content-Encoding": "gzip"}, b"\x1f\x8b" + b"x" * READ_CAP)]

        assert send(receiver).answer.startswith("\x1f\ufffdxxx")

    def test_a_receiver_that_hangs_up_is_a_failure(self, receiver: Receiver) -> None:
        receiver.answers = [hang_up]

        assert str(failure(receiver)).startswith("connection_error")

    def test_a_closed_port_is_a_failure(self, receiver: Receiver) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            receiver.url = f"http://127.0.0.1:{unused.getsockname()[1]}/"

            assert str(failure(receiver)).startswith("connection_error")


class TestAddress:
    def test_is_checked_at_every_connection(self, receiver: Receiver, settings: Any) -> None:
        settings.OUTBOUND_ALLOW = []

        failed = failure(receiver)

        assert str(failed).startswith("blocked_address")
        assert receiver.received == []

    def test_is_resolved_once_so_that_no_second_answer_can_differ(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers = iter(["127.0.0.1", "10.0.0.1"])  # a name that is rebound after the check
        asked = []
        real = socket.getaddrinfo

        def lookup(host: str, port: int, *arguments: Any, **options: Any) -> Any:
            if host != "hook.example":
                return real(host, port, *arguments, **options)
            asked.append(host)
            return real(next(answers), port, *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", lookup)

        post(f"http://hook.example:{receiver.port}/x", body=b"{}", headers={})

        assert asked == ["hook.example"]
        assert receiver.received[0].headers["host"] == f"hook.example:{receiver.port}"

    def test_the_environments_proxy_is_not_used(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "")

        assert send(receiver).status == 200


@pytest.fixture
def certificate(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A self-signed certificate with its key; a test's parameter changes its name or its end."""
    changes = getattr(request, "param", {})
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + changes.get("valid", timedelta(days=1)))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.IPAddress(ipaddress.ip_address(changes.get("address", "127.0.0.1"))),
                    x509.DNSName("hook.example"),
                ]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path


class TestTls:
    def receive(self, certificate: Path) -> tuple[Receiver, list[str | None]]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        asked: list[str | None] = []
        context.sni_callback = lambda _socket, name, _context: asked.append(name)
        return Receiver(tls=context), asked

    def test_an_unknown_issuer_is_refused(self, certificate: Path, settings: Any) -> None:
        settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
        receiver, _ = self.receive(certificate)

        with receiver:
            assert str(failure(receiver)).startswith("tls_error")

        assert receiver.received == []

    @pytest.mark.parametrize(
        "certificate",
        [{"address": "127.0.0.2"}, {"valid": -timedelta(days=1)}],
        ids=["other host", "expired"],
        indirect=True,
    )
    def test_a_wrong_certificate_of_a_known_issuer_is_refused(
        self, certificate: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        receiver, _ = self.receive(certificate)

        with receiver:
            assert str(failure(receiver)).startswith("tls_error")

        assert receiver.received == []

    def test_the_name_is_what_tls_checks_though_the_address_is_pinned(
        self, certificate: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *a, **o: real(host.replace("hook.example", "127.0.0.1"), *a, **o),
        )
        receiver, asked = self.receive(certificate)

        with receiver:
            receipt = post(f"https://hook.example:{receiver.port}/", body=b"{}", headers={})

        assert (receipt.status, asked) == (200, ["hook.example"])

    @pytest.mark.slow
    def test_a_slow_handshake_is_cut_off_at_the_deadline(self, settings: Any) -> None:
        settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
        with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DeliveryFailed, match="timeout"):
            post(f"https://127.0.0.1:{silent.getsockname()[1]}/", body=b"{}", headers={}, deadline=DEADLINE)
