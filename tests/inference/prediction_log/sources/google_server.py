"""Google's token address, and a storage or another service, on loopback: tokens are given for right signatures alone.

It is written by what Google publishes. Requests with a token are answered here, or by another server, `upstream`.
"""

import json
import re
from functools import cache
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.loopback import LoopbackHandler, LoopbackServer

EMAIL = "driftline@tests.iam.gserviceaccount.com"
PAGE = 2
type Answer = tuple[int, bytes, dict[str, str]]


@cache
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem_of(key: Any) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class GoogleServer(LoopbackServer):
    """The bucket scores, its objects by their names, and what was asked; `answers` come instead of the usual ones."""

    def __init__(
        self, upstream: str = "", scope: str = "https://www.googleapis.com/auth/devstorage.read_only"
    ) -> None:
        server, self.upstream, self.scope = self, upstream, scope
        self.objects: dict[str, bytes] = {}
        self.answers: dict[str, Answer] = {}
        """By what is asked for: "token", "list", "query", "results" of it, or the name of an object."""
        self.lifetime_seconds = 3_600
        self.tokens: list[str] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.bodies: list[bytes] = []

        class Handler(LoopbackHandler):
            def do_GET(self) -> None:
                self.answer(*server.give(self.path, self.read_headers()))

            def do_POST(self) -> None:
                body = self.read_body()
                if self.path == "/token":
                    self.answer(*server.give_token(self.path, dict(parse_qsl(body.decode()))))
                else:
                    self.answer(*server.give(self.path, self.read_headers(), body))

        super().__init__(Handler)

    def key(self, **changes: Any) -> str:
        """Return the key of an account as Google writes it."""
        document = {
            "type": "service_account",
            "project_id": "tests",
            "private_key_id": "first",
            "private_key": pem_of(private_key()),
            "client_email": EMAIL,
            "token_uri": f"{self.url}/token",
        }
        return json.dumps(document | changes)

    def give_token(self, path: str, form: dict[str, str]) -> Answer:
        """Give a token where the assertion is signed by the account, for this address and this service."""
        if "token" in self.answers:
            return self.answers["token"]
        try:
            claims = jwt.decode(
                form["assertion"],
                private_key().public_key(),
                algorithms=["RS256"],
                audience=f"{self.url}{path}",
                issuer=EMAIL,
                options={"require": ["exp", "iat", "aud", "iss"]},
            )
        except jwt.PyJWTError:
            return _json(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
        is_wanted = claims["scope"] == self.scope and claims["exp"] - claims["iat"] <= 3_600
        if not is_wanted or form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return _json(400, {"error": "invalid_scope"})
        self.tokens.append(token_urlsafe(8))
        given = {"access_token": self.tokens[-1], "expires_in": self.lifetime_seconds, "token_type": "Bearer"}
        return _json(200, given)

    def give(self, path: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        """Answer a request of the service; one with a body is a POST."""
        self.requests.append((path, headers))
        self.bodies.append(body)
        if headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return _json(401, {"error": {"code": 401, "errors": [{"reason": "authError"}]}})
        if self.upstream:
            return self._forward(path, headers, body)
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        found = re.fullmatch(r"/storage/v1/b/scores/o(?:/([^/]+))?", parts.path)
        name = unquote(found[1] or "list") if found else "query" if body else "results"
        if name in self.answers:
            return self.answers[name]
        if name == "list":
            return self._list(query)
        if name not in self.objects or query["generation"] != self.generation(name):
            return 404, b"No such object", {}
        first, last = headers["range"].removeprefix("bytes=").split("-")
        return 206, self.objects[name][int(first) : int(last) + 1], {}

    def generation(self, name: str) -> str:
        return str(int.from_bytes(self.objects[name][:6]))

    def _list(self, query: dict[str, str]) -> Answer:
        names = sorted(name for name in self.objects if name.startswith(query.get("prefix", "")))
        start = int(query.get("pageToken", 0))
        page: dict[str, Any] = {"kind": "storage#objects"}
        if names:
            page["items"] = [
                {
                    "name": name,
                    "generation": self.generation(name),
                    "size": str(len(self.objects[name])),
                    "updated": "2026-01-05T10:00:00.000Z",
                }
                for name in names[start : start + PAGE]
            ]
        if start + PAGE < len(names):
            page["nextPageToken"] = str(start + PAGE)
        return _json(200, page)

    def _forward(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        names = ("range", "accept-encoding", "content-type")
        kept = {name: text for name, text in headers.items() if name in names}
        answer = requests.request(
            "POST" if body else "GET",
            f"{self.upstream}{path}",
            headers=kept,
            data=body or None,
            timeout=60,
            stream=True,
        )
        with answer:
            return answer.status_code, answer.raw.read(decode_content=False), {}


def _json(status: int, document: Any) -> Answer:
    return status, json.dumps(document).encode(), {"Content-Type": "application/json"}
