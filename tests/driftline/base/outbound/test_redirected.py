"""A download follows redirects by the rules of every request, and a secret stays with the server that it is for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pytest

from driftline.base.outbound import redirected
from driftline.base.outbound.redirected import MAX_REDIRECTS, download_redirected
from driftline.base.outbound.transport import RequestFailed
from tests.loopback import LoopbackHandler, LoopbackServer

CONTENT = b"onnx" * 1_000


@dataclass
class Site:
    """A web server of which each path answers a redirect, a status or a file."""

    answers: dict[str, Any] = field(default_factory=dict)
    seen: list[tuple[str, str | None]] = field(default_factory=list)

    def handler(self) -> type[LoopbackHandler]:
        site = self

        class Handler(LoopbackHandler):
            def do_GET(self) -> None:
                site.seen.append((self.path, self.headers.get("Authorization")))
                answer = site.answers.get(self.path.partition("?")[0], 404)
                is_redirect = isinstance(answer, str)
                content = answer if isinstance(answer, bytes) else b"no"
                self.send_response(302 if is_redirect else 200 if isinstance(answer, bytes) else answer)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("X-Repo-Commit", "c0ffee" if self.path == "/file" else "of another")
                if is_redirect:
                    self.send_header("Location", answer)
                self.end_headers()
                self.wfile.write(content)

        return Handler


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def store() -> Site:
    return Site({"/signed": CONTENT})


def fetch(url: str, *, max_bytes: int = 1 << 20) -> tuple[bytes, Any]:
    target = BytesIO()
    headers = download_redirected(
        url,
        target,
        headers={},
        secret_headers={"Authorization": "Bearer s3cret"},
        max_bytes=max_bytes,
        deadline=30,
    )
    return target.getvalue(), headers


def test_to_another_server_are_followed_without_the_secret(site: Site, store: Site) -> None:
    with LoopbackServer(site.handler()) as home, LoopbackServer(store.handler()) as other:
        site.answers = {
            "/file": "/moved",
            "/moved": f"{other.url}/signed?X-Signature=abcdefgh",
            "/again": CONTENT,
        }
        store.answers |= {"/signed": f"{home.url}/again"}

        content, headers = fetch(f"{home.url}/file")

    assert content == CONTENT
    assert headers["X-Repo-Commit"] == "c0ffee"
    assert site.seen == [("/file", "Bearer s3cret"), ("/moved", "Bearer s3cret"), ("/again", None)]
    assert store.seen == [("/signed?X-Signature=abcdefgh", None)]


def test_end_at_the_largest_size(site: Site) -> None:
    site.answers = {"/file": "/moved", "/moved": CONTENT}
    with LoopbackServer(site.handler()) as home:
        assert fetch(f"{home.url}/file", max_bytes=10)[0] == CONTENT[:10]


def test_in_a_circle_end(site: Site) -> None:
    site.answers = {"/file": "/file"}
    with (
        LoopbackServer(site.handler()) as home,
        pytest.raises(RequestFailed, match="redirect_refused") as failure,
    ):
        fetch(f"{home.url}/file")

    assert len(site.seen) == MAX_REDIRECTS + 1
    assert failure.value.status == 302


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("", "says not where to"),
        ("ftp://example.com/x", "not a web address"),
        ("http://ada:s3cret@example.com/x", "user name or password"),
        ("http://127.0.0.1:6379/x", "Port 6379"),
        ("http://[::1/x", "redirect_refused"),
        (f"/{'a' * 4_000}", "characters"),
        ("http://10.0.0.1/x", "blocked_address"),
        ("http://169.254.169.254/latest/meta-data", "blocked_address"),
    ],
)
def test_to_what_must_not_be_called_are_refused(site: Site, location: str, reason: str) -> None:
    site.answers = {"/file": location}
    with LoopbackServer(site.handler()) as home, pytest.raises(RequestFailed, match=reason):
        fetch(f"{home.url}/file")


def test_from_https_to_http_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answer: Callable[..., Any] = lambda *_: ({"location": "http://127.0.0.1:9999/x"}, 302)  # noqa: E731
    monkeypatch.setattr(redirected, "_get", answer)

    with pytest.raises(RequestFailed, match="from https to http, at 127"):
        fetch("https://models.example.com/file")


def test_are_followed_without_reading_their_body(site: Site) -> None:
    """`Endless` announces more than it sends, so whoever reads on waits for ever."""

    class Endless(LoopbackHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Content-Length", str(1 << 40))
            self.send_header("Location", f"{home.url}/file")
            self.end_headers()
            self.wfile.write(CONTENT)
            self.wfile.flush()
            server.stopped.wait()

    site.answers = {"/file": CONTENT}
    with LoopbackServer(site.handler()) as home, LoopbackServer(Endless) as server:
        assert fetch(server.url)[0] == CONTENT


def test_that_fail_do_not_show_what_signs_an_address(site: Site, store: Site) -> None:
    with LoopbackServer(site.handler()) as home, LoopbackServer(store.handler()) as other:
        site.answers = {"/file": f"{other.url}/signed?X-Signature=abcdefgh%2Bij&a=1"}
        other_url = other.url
        store.answers = {}
        with pytest.raises(RequestFailed, match="404"):
            fetch(f"{home.url}/file")
    with (
        LoopbackServer(site.handler()) as home,
        pytest.raises(RequestFailed, match="connection_error") as failure,
    ):
        fetch(f"{home.url}/file")

    assert other_url.rpartition(":")[2] in str(failure.value)
    assert "abcdefgh" not in str(failure.value)
