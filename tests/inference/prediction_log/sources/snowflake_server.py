"""Snowflake's SQL REST API on loopback, by what Snowflake publishes: statements are run for right signatures alone."""

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.loopback import LoopbackHandler, LoopbackServer

USER = "driftline"
WAREHOUSE = "READERS"
PATH = "/api/v2/statements"
type Answer = tuple[int, bytes, dict[str, str]]
type Row = Sequence[str | None]


@cache
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem() -> str:
    """Return the private key of the user as Snowflake's documentation has it made."""
    return private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@dataclass(frozen=True)
class Result:
    """What a statement gives: its columns as the API describes them, and its rows, a list for each partition."""

    columns: Sequence[dict[str, Any]]
    partitions: Sequence[Sequence[Row]] = field(default_factory=lambda: [[]])


class SnowflakeServer(LoopbackServer):
    """Gives the result of `run` for each statement; `answers` come instead of the usual ones."""

    def __init__(self, run: Callable[[dict[str, Any]], Result]) -> None:
        server, self.run = self, run
        self.answers: dict[str, Answer] = {}
        """By what is asked for: "statement", "status", "partition" or "cancel"."""
        self.running: list[int] = []
        """Statuses of the next answers that say that a statement runs."""
        self.statements: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self._results: dict[str, Result] = {}

        class Handler(LoopbackHandler):
            def do_GET(self) -> None:
                self.answer(*server.give("GET", self.path, self.read_headers(), b""))

            def do_POST(self) -> None:
                self.answer(*server.give("POST", self.path, self.read_headers(), self.read_body()))

        super().__init__(Handler)

    def give(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer a request; its path says what is asked for."""
        self.requests.append((method, path, headers))
        parts = urlsplit(path)
        handle = parts.path.removeprefix(PATH).strip("/")
        if not _is_signed(headers):
            return _json(401, {"code": "390144", "message": "JWT token is invalid."})
        if not handle:
            return self.answers.get("statement") or self._start(json.loads(body))
        if handle.endswith("/cancel"):
            return self.answers.get("cancel") or _json(200, {"code": "000604"})
        if parts.query:
            number = int(parts.query.removeprefix("partition="))
            return self.answers.get("partition") or self._partition(handle, number)
        return self.answers.get("status") or self._status(handle)

    def _start(self, body: dict[str, Any]) -> Answer:
        self.statements.append(body)
        if body["warehouse"] != WAREHOUSE:
            return _json(422, {"code": "000606", "message": "No active warehouse selected\nin the session."})
        # Snowflake ignores these without an error; here that would show in no result.
        if any(
            not name.isupper() or not isinstance(value, str) for name, value in body["parameters"].items()
        ):
            return _json(
                422, {"code": "001", "message": "Parameters are text, and their names in upper case."}
            )
        try:
            result = self.run(body)
        except ValueError as error:
            return _json(422, {"code": "000904", "sqlState": "42000", "message": str(error)})
        handle = str(uuid4())
        self._results[handle] = result
        return _running(202, handle)

    def _status(self, handle: str) -> Answer:
        if self.running:
            return _running(self.running.pop(0), handle)
        result = self._results[handle]
        metadata = {
            "numRows": sum(map(len, result.partitions)),
            "format": "jsonv2",
            "rowType": result.columns,
            "partitionInfo": [{"rowCount": len(rows), "uncompressedSize": 1} for rows in result.partitions],
        }
        document = {"resultSetMetaData": metadata, "data": result.partitions[0], "code": "090001"}
        return _json(200, document | {"statementHandle": handle})

    def _partition(self, handle: str, number: int) -> Answer:
        document = {"data": self._results[handle].partitions[number]}
        return 200, gzip.compress(json.dumps(document).encode()), {"Content-Encoding": "gzip"}


def _running(status: int, handle: str) -> Answer:
    document = {"code": "333334", "message": "Asynchronous execution in progress.", "statementHandle": handle}
    return _json(status, document | {"statementStatusUrl": f"{PATH}/{handle}"})


def _is_signed(headers: dict[str, str]) -> bool:
    """Return whether a request has the headers that are required, and a token that the key of the user signed."""
    public = private_key().public_key()
    digest = hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    subject = f"127.{USER.upper()}"  # the host is 127.0.0.1
    try:
        claims = jwt.decode(
            headers["authorization"].removeprefix("Bearer "),
            public,
            algorithms=["RS256"],
            issuer=f"{subject}.SHA256:{base64.b64encode(digest).decode()}",
            subject=subject,
            options={"require": ["exp", "iat", "iss", "sub"]},
        )
    except jwt.PyJWTError:
        return False
    return (
        claims["exp"] - claims["iat"] <= 3_600
        and headers["x-snowflake-authorization-token-type"] == "KEYPAIR_JWT"
        and headers["content-type"] == headers["accept"] == "application/json"
        and bool(headers["user-agent"])
    )


def _json(status: int, document: Any) -> Answer:
    return status, json.dumps(document).encode(), {"Content-Type": "application/json"}
