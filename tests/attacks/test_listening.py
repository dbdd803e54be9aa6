"""A stranger on the network finds no port without TLS, no guessable key and no debug page."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from django.core.management import CommandError, call_command

import driftline_client
from driftline.management.commands import serve, up
from inference.protocol import inference_service_pb2 as messages
from inference.registry.plan import publishing
from inference.serving.options import ServerCertificate
from tests.certificates import make_certificate
from tests.inference.serving.conftest import publish_everything
from tests.inference.serving.running import Server, request_bytes, rows_body, running_server
from tests.waiting import wait_until

STRONG_KEY = "a-key-of-a-test-that-nobody-guesses-0123456789-abcdefghij"
EXPOSED_HOSTS = ["0.0.0.0", "::", "", "192.0.2.1", "2001:db8::1", "driftline.example.com"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The hosts on which a server would listen now: nothing here opens a port to the network."""
    hosts: list[str] = []
    monkeypatch.setattr(publishing, "publish", lambda: None)
    monkeypatch.setattr(serve, "serve_forever", lambda home, host, port, **_: hosts.append(host))
    monkeypatch.setattr(
        up.Command, "_run", lambda command, installation: hosts.append(getattr(installation, "host", "?"))
    )
    monkeypatch.setattr(up, "_check_ports", lambda installation: None)
    return hosts


@pytest.fixture
def quiet_settings(settings: Any, tmp_path: Path) -> Any:
    """Settings of an installation with a home of its own and a strong key."""
    settings.HOME = tmp_path
    settings.SECRET_KEY = STRONG_KEY
    settings.PUBLIC_URL = "https://driftline.example.com"
    return settings


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, files: tuple[Path, Path]) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    publish_everything(home)
    certificate = ServerCertificate(*map(str, files))
    with running_server(
        home, grpc=True, certificate=certificate, app="tests.inference.serving.small_app:app"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The certificate of a client, which is its own authority, and its key."""
    return make_certificate(tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def strict(
    tmp_path_factory: pytest.TempPathFactory, files: tuple[Path, Path], clients: tuple[Path, Path]
) -> Iterator[Server]:
    """A server that asks clients of inference for a certificate."""
    home = tmp_path_factory.mktemp("strict")
    publish_everything(home)
    certificate = ServerCertificate(*map(str, files), client_authorities=str(clients[0]))
    with running_server(
        home, grpc=True, certificate=certificate, app="tests.inference.serving.small_app:app"
    ) as running:
        yield running


class TestServe:
    @pytest.mark.parametrize("host", EXPOSED_HOSTS)
    def test_opens_no_port_to_the_network_without_tls(
        self, host: str, started: list[str], quiet_settings: Any
    ) -> None:
        """`serve --host 0.0.0.0` listened on all addresses, for HTTP and gRPC, without a word."""
        with pytest.raises(CommandError, match=r"DRIFTLINE_TLS_CERTIFICATE.*DRIFTLINE_BEHIND_TLS=1"):
            call_command("serve", host=host, skip_checks=True)

        assert started == []

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
    def test_listens_for_this_machine_alone_without_tls(
        self, host: str, started: list[str], quiet_settings: Any
    ) -> None:
        call_command("serve", host=host, skip_checks=True)

        assert started == [host]

    def test_listens_to_the_network_behind_a_declared_proxy(
        self, started: list[str], quiet_settings: Any
    ) -> None:
        quiet_settings.BEHIND_TLS = True

        call_command("serve", host="0.0.0.0", skip_checks=True)

        assert started == ["0.0.0.0"]

    def test_listens_to_the_network_with_a_certificate(
        self, started: list[str], quiet_settings: Any, tmp_path: Path
    ) -> None:
        quiet_settings.TLS_CERTIFICATE, quiet_settings.TLS_KEY = make_certificate(tmp_path)

        call_command("serve", host="0.0.0.0", skip_checks=True)

        assert started == ["0.0.0.0"]

    def test_refuses_a_certificate_without_its_own_key(
        self, started: list[str], quiet_settings: Any, tmp_path: Path
    ) -> None:
        (tmp_path / "other").mkdir()
        quiet_settings.TLS_CERTIFICATE, _ = make_certificate(tmp_path)
        for key in (None, make_certificate(tmp_path / "other")[1], tmp_path / "missing.pem"):
            quiet_settings.TLS_KEY = key

            with pytest.raises(CommandError, match="key"):
                call_command("serve", host="0.0.0.0", skip_checks=True)

        assert started == []

    def test_refuses_authorities_of_clients_that_cannot_be_read(
        self, started: list[str], quiet_settings: Any, tmp_path: Path
    ) -> None:
        quiet_settings.TLS_CERTIFICATE, quiet_settings.TLS_KEY = make_certificate(tmp_path)
        empty = tmp_path / "empty.pem"
        empty.touch()
        for authorities in (empty, tmp_path / "missing.pem"):
            quiet_settings.TLS_CLIENT_CA = authorities

            with pytest.raises(CommandError, match="DRIFTLINE_TLS_CLIENT_CA"):
                call_command("serve", host="0.0.0.0", skip_checks=True)

        assert started == []

    @pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
    @pytest.mark.parametrize(
        ("name", "value", "remedy"),
        [
            ("DEBUG", True, "DRIFTLINE_DEBUG is 1"),
            (
                "TLS_CLIENT_CA",
                Path("authorities.pem"),
                "set DRIFTLINE_TLS_CERTIFICATE and DRIFTLINE_TLS_KEY too",
            ),
            ("SECRET_KEY", "x", "DRIFTLINE_SECRET_KEY can be guessed"),
            ("SECRET_KEY", "x" * 80, "DRIFTLINE_SECRET_KEY can be guessed"),
            ("SECRET_KEY", STRONG_KEY[:49], "DRIFTLINE_SECRET_KEY can be guessed"),
            ("SECRET_KEY_FALLBACKS", ["old"], "DRIFTLINE_SECRET_KEY_FALLBACKS can be guessed"),
        ],
    )
    def test_is_not_reached_from_outside_with_a_weak_key_or_debug(
        self,
        host: str,
        name: str,
        value: object,
        remedy: str,
        started: list[str],
        quiet_settings: Any,
    ) -> None:
        """A key of one letter or DRIFTLINE_DEBUG=1 behind a proxy was a warning of `check --deploy` alone."""
        quiet_settings.BEHIND_TLS = True
        setattr(quiet_settings, name, value)

        with pytest.raises(CommandError, match=remedy):
            call_command("serve", host=host, skip_checks=True)

        assert started == []

    def test_takes_any_key_for_this_machine_alone(self, started: list[str], quiet_settings: Any) -> None:
        quiet_settings.SECRET_KEY, quiet_settings.PUBLIC_URL = "x", "http://127.0.0.1:8000"

        call_command("serve", host="127.0.0.1", skip_checks=True)

        assert started == ["127.0.0.1"]

    def test_warns_where_every_host_header_is_taken(
        self, started: list[str], quiet_settings: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        quiet_settings.BEHIND_TLS, quiet_settings.ALLOWED_HOSTS = True, ["*"]

        call_command("serve", host="0.0.0.0", skip_checks=True)

        assert "DRIFTLINE_ALLOWED_HOSTS is *" in capsys.readouterr().err
        assert started == ["0.0.0.0"]


class TestUp:
    def test_opens_no_port_to_the_network_without_tls(self, started: list[str], quiet_settings: Any) -> None:
        with pytest.raises(CommandError, match="DRIFTLINE_BEHIND_TLS=1"):
            call_command("up", host="0.0.0.0")

        assert started == []

    def test_listens_where_the_operator_says_behind_a_declared_proxy(
        self, started: list[str], quiet_settings: Any
    ) -> None:
        quiet_settings.BEHIND_TLS = True

        call_command("up", host="0.0.0.0")

        assert started == ["0.0.0.0"]

    def test_plays_no_demo_that_would_not_reach_it(
        self, started: list[str], quiet_settings: Any, tmp_path: Path
    ) -> None:
        quiet_settings.TLS_CERTIFICATE, quiet_settings.TLS_KEY = make_certificate(tmp_path)

        with pytest.raises(CommandError, match="without --demo"):
            call_command("up", demo="flights")

        assert started == []


@pytest.mark.slow
class TestDevelopmentServer:
    def test_opens_no_port_to_the_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        started: list[Any] = []
        runserver = "django.core.management.commands.runserver.Command.run"
        monkeypatch.setattr(runserver, lambda *_, **__: started.append(1))

        with pytest.raises(CommandError, match="use `serve`"):
            call_command("runserver", "0.0.0.0:8000", skip_checks=True)

        assert started == []


class TestServerWithACertificate:
    """HTTP and gRPC speak TLS, and nothing else, on both ports."""

    @pytest.mark.parametrize("protocol", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_answers_https(self, server: Server, files: tuple[Path, Path], protocol: ssl.TLSVersion) -> None:
        context = ssl.create_default_context(cafile=str(files[0]))
        context.minimum_version = context.maximum_version = protocol

        with server.connect() as connection:
            connection.socket = context.wrap_socket(connection.socket, server_hostname="localhost")
            connection.send(request_bytes("/v2/models/sums/infer", rows_body([1, 2, 3])))
            inferred = connection.receive()
            connection.send(request_bytes("/anything", b"", method="GET"))
            other = connection.receive()
            cipher = connection.socket.cipher()

        assert inferred.json["outputs"][0]["data"] == [6.0]
        assert other.status == 200
        assert cipher is not None
        assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]

    def test_answers_nothing_over_plain_http(self, server: Server) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain:
            plain.sendall(request_bytes("/v2/models/sums/infer", rows_body([1, 2, 3])))

            assert b"HTTP" not in plain.recv(4096)

    def test_answers_grpc_over_tls_alone(self, server: Server, files: tuple[Path, Path]) -> None:
        address, request = f"localhost:{server.grpc_port}", messages.ServerLiveRequest()
        trusted = grpc.ssl_channel_credentials(files[0].read_bytes())
        options = [("grpc.use_local_subchannel_pool", 1)]

        with grpc.secure_channel(address, trusted, options) as encrypted:
            answer = _ask_whether_live(encrypted, request)
        with grpc.insecure_channel(address, options) as plain, pytest.raises(grpc.RpcError) as refused:
            _ask_whether_live(plain, request)

        assert answer.live
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE

    def test_uses_a_renewed_certificate_without_a_restart(self, tmp_path: Path) -> None:
        home, used, renewed = tmp_path / "home", tmp_path / "used", tmp_path / "renewed"
        for folder in (home, used, renewed):
            folder.mkdir()
        publish_everything(home)
        chain, key = make_certificate(used)
        new_chain, new_key = make_certificate(renewed)
        old, new = chain.read_bytes(), new_chain.read_bytes()
        with running_server(home, grpc=True, certificate=ServerCertificate(str(chain), str(key))) as server:
            with server.connect() as connection:
                connection.socket = _trusting(old).wrap_socket(connection.socket, server_hostname="localhost")
                assert _is_shown_by(server.port, old)
                new_chain.replace(chain)
                new_key.replace(key)
                wait_until(lambda: _is_shown_by(server.port, new), what="the new certificate")

                connection.send(request_bytes("/v2/models/sums/infer", rows_body([1, 2, 3])))
                assert connection.receive().json["outputs"][0]["data"] == [6.0]
            with grpc.secure_channel(
                f"localhost:{server.grpc_port}",
                grpc.ssl_channel_credentials(new),
                [("grpc.use_local_subchannel_pool", 1)],
            ) as channel:
                assert _ask_whether_live(channel, messages.ServerLiveRequest()).live


class TestServerThatAsksClientsForACertificate:
    """Inference takes a certificate of the client beside its token; pages and API on the same port do not."""

    def _ask(self, server: Server, context: ssl.SSLContext, *requests: bytes) -> list[Any]:
        with server.connect() as connection:
            connection.socket = context.wrap_socket(connection.socket, server_hostname="localhost")
            return [(connection.send(request), connection.receive())[1] for request in requests]

    def test_answers_who_shows_one(
        self, strict: Server, files: tuple[Path, Path], clients: tuple[Path, Path]
    ) -> None:
        context = _trusting(files[0].read_bytes())
        context.load_cert_chain(*clients)
        request = request_bytes("/v2/models/sums/infer", rows_body([1, 2, 3]))

        answers = self._ask(strict, context, request, request)  # the second one's head is known

        assert [answer.status for answer in answers] == [200, 200]

    def test_refuses_a_model_to_who_shows_none_and_gives_the_rest(
        self, strict: Server, files: tuple[Path, Path]
    ) -> None:
        infer = request_bytes("/v2/models/sums/infer", rows_body([1, 2, 3]))
        page = request_bytes("/anything", b"", method="GET")
        metadata = request_bytes("/v2/models/sums", b"", method="GET")
        job = request_bytes(
            "/v2/models/sums/infer", rows_body([1, 2, 3]), headers={"prefer": "respond-async"}
        )

        answers = self._ask(strict, _trusting(files[0].read_bytes()), infer, infer, page, metadata, job)

        assert [answer.status for answer in answers] == [403, 403, 200, 403, 403]
        assert "certificate" in answers[0].json["error"]

    def test_ends_the_handshake_of_who_shows_a_strangers(
        self, strict: Server, files: tuple[Path, Path], tmp_path: Path
    ) -> None:
        context = _trusting(files[0].read_bytes())
        context.load_cert_chain(*make_certificate(tmp_path))

        with pytest.raises((ssl.SSLError, ConnectionError)):
            self._ask(strict, context, request_bytes("/v2/models/sums/infer", rows_body([1, 2, 3])))

    def test_answers_the_python_client_that_knows_its_certificate(
        self,
        strict: Server,
        files: tuple[Path, Path],
        clients: tuple[Path, Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        monkeypatch.setenv("DRIFTLINE_CLIENT_CERTIFICATE", str(clients[0]))
        monkeypatch.setenv("DRIFTLINE_CLIENT_KEY", str(clients[1]))

        with driftline_client.model("sums", f"https://localhost:{strict.port}", "dl_infer") as model:
            assert [*model.predict([[1, 2, 3]]).outputs.values()] == [[[6.0]]]

        monkeypatch.setenv("DRIFTLINE_CLIENT_KEY", str(files[1]))
        with pytest.raises(driftline_client.DriftlineError, match="cannot be used"):
            driftline_client.model("sums", f"https://localhost:{strict.port}", "dl_infer")

    def test_gives_no_session_with_which_a_connection_shows_no_certificate_again(
        self, strict: Server, files: tuple[Path, Path], clients: tuple[Path, Path]
    ) -> None:
        context = _trusting(files[0].read_bytes())
        context.load_cert_chain(*clients)
        with strict.connect() as connection:
            connection.socket = context.wrap_socket(connection.socket, server_hostname="localhost")
            connection.send(request_bytes("/v2/models/sums/infer", rows_body([1, 2, 3])))
            assert connection.receive().status == 200
            session = connection.socket.session

        assert session is None or not session.has_ticket

    def test_speaks_no_tls_in_which_sessions_cannot_be_refused(
        self, strict: Server, files: tuple[Path, Path]
    ) -> None:
        context = _trusting(files[0].read_bytes())
        context.maximum_version = ssl.TLSVersion.TLSv1_2

        with pytest.raises((ssl.SSLError, ConnectionError)):
            self._ask(strict, context, request_bytes("/anything", b"", method="GET"))

    def test_takes_a_call_over_grpc_only_with_one(
        self, strict: Server, files: tuple[Path, Path], clients: tuple[Path, Path]
    ) -> None:
        chain, key = (file.read_bytes() for file in clients)
        known = grpc.ssl_channel_credentials(files[0].read_bytes(), key, chain)
        unknown = grpc.ssl_channel_credentials(files[0].read_bytes())
        address, options = f"localhost:{strict.grpc_port}", [("grpc.use_local_subchannel_pool", 1)]

        with grpc.secure_channel(address, known, options) as channel:
            assert _ask_whether_live(channel, messages.ServerLiveRequest()).live
        with grpc.secure_channel(address, unknown, options) as channel, pytest.raises(grpc.RpcError):
            _ask_whether_live(channel, messages.ServerLiveRequest())


def _trusting(certificate: bytes) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=certificate.decode())


def _is_shown_by(port: int, certificate: bytes) -> bool:
    """Return whether a server shows this certificate, which its client trusts, in a new handshake."""
    with (
        suppress(ssl.SSLCertVerificationError),
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        _trusting(certificate).wrap_socket(plain, server_hostname="localhost"),
    ):
        return True
    return False


def _ask_whether_live(channel: grpc.Channel, request: messages.ServerLiveRequest) -> Any:
    return channel.unary_unary(
        "/inference.GRPCInferenceService/ServerLive",
        request_serializer=messages.ServerLiveRequest.SerializeToString,
        response_deserializer=messages.ServerLiveResponse.FromString,
    )(request, timeout=20)
