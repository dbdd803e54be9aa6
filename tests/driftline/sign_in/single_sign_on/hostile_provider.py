"""An identity provider on loopback that answers whatever a test wants it to, also what no honest one would."""

import base64
import hashlib
import json
import time
from functools import cache
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.loopback import LoopbackHandler, LoopbackServer

CLIENT, SECRET, CODE = "driftline", "the secret of the client", "a-code"


@cache
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def another_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class HostileProvider(LoopbackServer):
    """Signs in one person, ada, with the `claims` of a test over those of an honest provider; None leaves one out."""

    def __init__(self) -> None:
        provider = self

        class Handler(LoopbackHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                provider.asked.append(path)
                documents = {
                    "/.well-known/openid-configuration": provider.discovery,
                    "/keys": {"keys": [provider.public_key()]},
                    "/userinfo": provider.userinfo,
                }
                self._answer(documents.get(path))

            def do_POST(self) -> None:
                sent = dict(parse_qsl(self.read_body().decode()))
                provider.asked.append(urlsplit(self.path).path)
                self._answer(provider.tokens(sent))

            def _answer(self, document: Any) -> None:
                body = json.dumps(document).encode()
                self.send_response(404 if document is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        super().__init__(Handler)
        self.asked: list[str] = []
        self.claims: dict[str, Any] = {}
        self.headers: dict[str, Any] = {"kid": "first"}
        self.algorithm = "RS256"
        self.key: Any = signing_key()
        self.nonce = self.challenge = ""
        self.userinfo: dict[str, Any] | None = None
        self.discovery: dict[str, Any] = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "end_session_endpoint": f"{self.url}/leave",
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }

    def public_key(self) -> dict[str, Any]:
        return json.loads(RSAAlgorithm.to_jwk(signing_key().public_key())) | {"kid": "first", "use": "sig"}

    def note_start(self, address: str) -> dict[str, str]:
        """Remember what a browser was sent here with, and return it."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        self.nonce, self.challenge = asked["nonce"], asked["code_challenge"]
        return asked

    def tokens(self, sent: dict[str, str]) -> dict[str, Any]:
        """Answer a code, where client, code and proof key are right."""
        digest = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
        proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        expected = {"client_id": CLIENT, "client_secret": SECRET, "code": CODE}
        if any(sent.get(name) != value for name, value in expected.items()) or proof != self.challenge:
            return {"error": "invalid_grant"}
        return {"access_token": "an-access-token", "token_type": "Bearer", "id_token": self.id_token()}

    def id_token(self) -> str:
        honest = {
            "sub": "ada-1",
            "email": "ada@bank.example",
            "email_verified": True,
            "name": "Ada Byron",
            "groups": ["risk"],
            "nonce": self.nonce,
            "exp": int(time.time()) + 3600,
        }
        return self.sign(honest | self.claims)

    def sign(self, claims: dict[str, Any]) -> str:
        signed = {"iss": self.url, "aud": CLIENT, "iat": int(time.time())} | claims
        kept = {name: value for name, value in signed.items() if value is not None}
        return jwt.encode(kept, self.key, algorithm=self.algorithm, headers=self.headers)
