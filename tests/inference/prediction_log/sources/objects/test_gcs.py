"""Google's storage is read with tokens of a service account, and hostile answers and keys are refused.

tests/streams/test_gcs.py asks an emulator of another process.
"""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from driftline.base.errors import Problem
from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects import remote_store
from inference.connectors.objects.store import ObjectInfo, ObjectMissing
from inference.prediction_log.sources import service_account
from inference.prediction_log.sources.objects.gcs import GcsBucket
from inference.prediction_log.sources.objects.settings import ObjectsSettings, check_objects
from tests.inference.prediction_log.sources.google_server import GoogleServer, pem_of
from tests.ports import free_port

ITEM = {"name": "a.csv", "generation": "17", "size": "12", "updated": "2026-01-05T10:00:00Z"}


@pytest.fixture
def server(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleServer]:
    settings.OUTBOUND_ALLOW, settings.HOME = ["127.0.0.1/32"], tmp_path
    monkeypatch.setattr(remote_store, "PAUSES_SECONDS", (0, 0))
    with GoogleServer() as running:
        running.objects = {name: name.encode() * 100 for name in ("a.csv", "b/c d.csv", "b/ü%2F&.csv")}
        yield running


@pytest.fixture
def store(server: GoogleServer) -> Iterator[GcsBucket]:
    opened = open_bucket(server)
    yield opened
    opened.close()


def open_bucket(server: GoogleServer, key: str | None = None, **where: Any) -> GcsBucket:
    settings = ObjectsSettings(service="gcs", bucket="scores", endpoint=server.url, **where)
    return GcsBucket(settings, server.key() if key is None else key)


def listed(store: GcsBucket) -> list[ObjectInfo]:
    return [one for page in store.pages() for one in page]


def refusal(server: GoogleServer, key: str | None = None) -> str:
    """Return why a bucket cannot be listed."""
    store = open_bucket(server, key)
    try:
        with pytest.raises(ConnectorFailed) as caught:
            listed(store)
        return str(caught.value)
    finally:
        store.close()


class TestGoogleBucket:
    def test_lists_all_pages_and_reads_what_they_name(self, server: GoogleServer, store: GcsBucket) -> None:
        found = listed(store)

        assert [one.path for one in found] == sorted(server.objects)
        assert found[0] == ObjectInfo("a.csv", server.generation("a.csv"), 500, 1_767_607_200_000_000)
        for one in found:
            assert store.open(one).read() == server.objects[one.path]

    def test_lists_what_has_the_prefix_alone(self, server: GoogleServer) -> None:
        store = open_bucket(server, prefix="b/")

        assert [one.path for one in listed(store)] == ["b/c d.csv", "b/ü%2F&.csv"]
        store.close()

    def test_asks_for_content_as_it_is_stored(self, server: GoogleServer, store: GcsBucket) -> None:
        store.get_range(listed(store)[0], 0, 5)

        assert (
            server.requests[-1][1]["accept-encoding"] == "gzip"
        )  # else Google unpacks what is marked as packed

    def test_misses_an_object_that_was_replaced_since_it_was_listed(
        self, server: GoogleServer, store: GcsBucket
    ) -> None:
        before = listed(store)[0]

        server.objects["a.csv"] = b"other content"

        with pytest.raises(ObjectMissing):
            store.get_range(before, 0, 5)
        after = listed(store)[0]
        assert store.get_range(after, 0, 5) == b"other"
        assert after.etag != before.etag

    def test_sends_nothing_of_an_account_to_a_public_bucket(self, server: GoogleServer) -> None:
        assert "401 authError" in refusal(server, key="")
        assert [headers.get("authorization") for _, headers in server.requests] == [None]
        assert server.tokens == []

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"no JSON",
            b"{}",
            b"[]",
            b"\xff\xfe",
            b"[" * 100_000,
            b"<ListBucketResult/>",
            json.dumps({"kind": "storage#bucket"}).encode(),
            json.dumps({"kind": "storage#objects", "items": {}}).encode(),
            json.dumps({"kind": "storage#objects", "nextPageToken": 2}).encode(),
            *(
                json.dumps({"kind": "storage#objects", "items": [ITEM | change]}).encode()
                for change in (
                    {"name": ""},
                    {"name": 7},
                    {"name": "\ud800"},
                    {"size": 12},
                    {"size": "many"},
                    {"size": "-1"},
                    {"size": "9" * 5_000},
                    {"generation": None},
                    {"generation": "1&alt=json"},
                    {"updated": "today"},
                    {"updated": "2026-01-05T10:00:00"},
                )
            ),
        ],
    )
    def test_says_what_is_no_listing(self, server: GoogleServer, body: bytes) -> None:
        server.answers["list"] = 200, body, {}

        assert "endpoint of Google Cloud Storage" in refusal(server)

    def test_refuses_a_listing_that_is_longer_than_any(
        self, server: GoogleServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.answers["list"] = 200, b" " * (remote_store.MAX_PAGE_BYTES + 1), {}

        assert "longer than what was asked for" in refusal(server)

    def test_follows_no_redirect(self, server: GoogleServer, store: GcsBucket) -> None:
        [first, *_] = listed(store)
        for place in ("list", "a.csv"):
            server.answers[place] = 302, b"", {"Location": f"{server.url}/elsewhere"}

        with pytest.raises(ConnectorFailed, match="302, which is no answer"):
            store.get_range(first, 0, 5)
        with pytest.raises(ConnectorFailed, match="302, which is no answer"):
            listed(store)
        assert not any("elsewhere" in path for path, _ in server.requests)

    def test_refuses_less_or_more_than_was_asked_for(self, server: GoogleServer, store: GcsBucket) -> None:
        [first, *_] = listed(store)

        for body in (b"four", b"sixsix", b"x" * (remote_store.PART_BYTES + 1)):
            server.answers["a.csv"] = 206, body, {}
            with pytest.raises(ConnectorFailed, match=r"bytes of 5|longer than what was asked for"):
                store.get_range(first, 0, 5)

    def test_says_the_reason_of_a_refusal_and_nothing_else_of_it(self, server: GoogleServer) -> None:
        refused = {"error": {"message": "<b>", "errors": [{"domain": "global", "reason": "forbidden"}]}}
        server.answers["list"] = 403, json.dumps(refused).encode(), {}

        assert refusal(server) == "The bucket cannot be listed: the store answered 403 forbidden."


class TestToken:
    def test_serves_many_requests(self, server: GoogleServer, store: GcsBucket) -> None:
        for one in listed(store):
            store.get_range(one, 0, 5)

        assert len(server.requests) == 5
        assert len(server.tokens) == 1

    def test_is_asked_for_again_before_it_ends(self, server: GoogleServer, store: GcsBucket) -> None:
        server.lifetime_seconds = service_account.RENEW_SECONDS

        listed(store)

        assert len(server.tokens) == 2  # one a page

    def test_is_not_sent_again_once_it_is_refused(self, server: GoogleServer, store: GcsBucket) -> None:
        [first, *_] = listed(store)
        server.tokens = ["revoked all others"]

        assert store.get_range(first, 0, 5) == b"a.csv"
        assert len(server.tokens) == 2

    def test_is_not_given_for_the_key_of_somebody_else(self, server: GoogleServer) -> None:
        other = pem_of(rsa.generate_private_key(public_exponent=65537, key_size=2048))

        said = refusal(server, server.key(private_key=other))

        assert "400 invalid_grant; check this server's clock, and that the key still exists." in said

    @pytest.mark.slow
    def test_is_refused_alike_by_a_port_that_is_closed_or_silent(
        self, server: GoogleServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed = f"http://127.0.0.1:{free_port()}/token"
        with socket.create_server(("127.0.0.1", 0)) as listening:
            monkeypatch.setattr(service_account, "DEADLINE_SECONDS", 0.2)
            silent = f"http://127.0.0.1:{listening.getsockname()[1]}/token"
            monkeypatch.setattr(service_account, "TOKEN_URLS", (closed, silent))

            said = {refusal(server, server.key(token_uri=url)) for url in (closed, silent)}

        assert len(said) == 1
        assert "its address does not answer" in said.pop()

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"<html>",
            b"[]",
            b"{}",
            b"[" * 50_000,
            b"x" * 100_000,
            b'{"access_token": "a", "expires_in": "3600"}',
            b'{"access_token": "a", "expires_in": -1}',
            b'{"access_token": "a", "expires_in": 1e300}',
            b'{"access_token": "", "expires_in": 3600}',
            b'{"access_token": 7, "expires_in": 3600}',
            b'{"access_token": "a\\r\\nHost: other", "expires_in": 3600}',
        ],
    )
    def test_is_none_where_the_answer_has_none(self, server: GoogleServer, answer: bytes) -> None:
        server.answers["token"] = 200, answer, {}

        assert "the answer has none that can be read" in refusal(server)
        assert server.requests == []

    def test_is_not_fetched_by_a_redirect(self, server: GoogleServer) -> None:
        server.answers["token"] = 307, b"", {"Location": f"{server.url}/elsewhere"}

        assert refusal(server) == "No token is given to the service account: 307."

    def test_tells_nothing_else_of_a_refusal(self, server: GoogleServer) -> None:
        server.answers["token"] = 403, b'{"error": "access_denied", "secrets": "<b>"}', {}

        assert refusal(server) == "No token is given to the service account: 403 access_denied."


class TestKeyOfAnAccount:
    @pytest.mark.parametrize(
        "key",
        ["no JSON", "[]", "{}", "[" * 60_000, '{"type": "authorized_user"}'],
    )
    def test_is_refused_where_it_is_none(self, server: GoogleServer, key: str) -> None:
        assert "no key of a service account" in refusal(server, key)

    @pytest.mark.parametrize(
        "change",
        [
            {"type": "external_account"},
            {"client_email": ""},
            {"client_email": ["a"]},
            {"private_key": "no PEM"},
            {"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
            {"private_key": pem_of(ec.generate_private_key(ec.SECP256R1()))},
            {"private_key": "\ud800"},
            {"private_key_id": 7},
            {"token_uri": None},
        ],
    )
    def test_is_refused_where_a_part_is_wrong(self, server: GoogleServer, change: dict[str, Any]) -> None:
        assert "no key of a service account" in refusal(server, server.key(**change))

    def test_is_refused_where_signing_with_it_would_take_long(self, server: GoogleServer) -> None:
        long = pem_of(rsa.generate_private_key(public_exponent=65537, key_size=2048)) + "\n" * 4_000

        assert "no key of a service account" in refusal(server, server.key(private_key=long))

    @pytest.mark.parametrize(
        "token_uri",
        [
            "http://169.254.169.254/token",
            "https://oauth2.googleapis.com.example.com/token",
            "https://oauth2.googleapis.com/token?next=other",
            "https://oauth2.googleapis.com@example.com/token",
            "file:///etc/passwd",
            "",
        ],
    )
    def test_leads_to_no_other_address(self, server: GoogleServer, token_uri: str) -> None:
        said = refusal(server, server.key(token_uri=token_uri))

        assert "a token_uri that is neither Google's nor at the endpoint" in said

    def test_leads_to_no_host_that_begins_like_the_endpoint(self, server: GoogleServer) -> None:
        for token_uri in (
            f"{server.url}.example.com/token",
            f"{server.url}@example.com/",
            f"{server.url}1/token",
        ):
            assert "neither Google's nor at the endpoint" in refusal(server, server.key(token_uri=token_uri))

    def test_is_not_used_where_the_address_is_not_allowed(self, server: GoogleServer, settings: Any) -> None:
        settings.OUTBOUND_ALLOW = []

        assert "blocked_address" in refusal(server)
        assert server.tokens == []


class TestSettings:
    def test_need_no_endpoint(self) -> None:
        settings = ObjectsSettings(service="gcs", bucket="scores")

        check_objects(settings)

        assert settings.url() == "https://storage.googleapis.com"

    def test_have_no_access_key_id(self) -> None:
        with pytest.raises(Problem, match="leave the access key ID empty"):
            check_objects(ObjectsSettings(service="gcs", bucket="scores", access_key_id="AK1"))

    def test_of_another_service_or_endpoint_drop_the_stored_secret(self) -> None:
        google = ObjectsSettings(service="gcs", bucket="scores")

        assert google.address() != ObjectsSettings(bucket="scores").address()
        assert google.address() != google.model_copy(update={"endpoint": "https://s.example.com"}).address()
