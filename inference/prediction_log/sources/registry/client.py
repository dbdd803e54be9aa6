"""Asks a schema registry for schemas, over connections to checked addresses alone."""

import base64
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import quote

import msgspec
from msgspec import Struct

from driftline.base.errors import UNREADABLE
from driftline.base.outbound.transport import RequestFailed, exchange
from driftline.base.strict_json import printable
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.registry.faults import SCHEMA_TOO_LARGE, UNKNOWN_SCHEMA, Undecodable

DEADLINE_SECONDS = 10.0  # of one request
MAX_SCHEMA_BYTES = 1 << 20
"""Of a schema with all that it refers to, as the registry writes it."""
MAX_REFERENCES = 100
_NOT_FOUND = range(40400, 40500)  # as registries number their own errors of the kind "not found"
_NO_SCHEMA = "The schema registry answers with something else than a schema; check its URL."


class SchemaReference(Struct, frozen=True):
    """Another schema that one imports: its name there, and where it is kept."""

    name: str
    subject: str
    version: int


class RegisteredSchema(Struct, frozen=True):
    """A schema as the registry has it; `schema` is its text, or a descriptor in base64 where that was asked for."""

    schema: str
    schemaType: str = "AVRO"  # which the registry leaves out for Avro
    references: list[SchemaReference] = []


class _Error(Struct, frozen=True):
    error_code: int


class SchemaRegistry:
    """A registry that speaks the API of Confluent's.

    Every call raises ConnectorFailed where it gives no clear answer, and Undecodable where it has no such schema, or a
    larger one than is read.
    """

    def __init__(self, url: str, user: str, secret: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {
            "Accept": "application/vnd.schemaregistry.v1+json, application/json",
            "Accept-Encoding": "identity",  # as answers are read undecoded
        }
        if user:
            credentials = base64.b64encode(f"{user}:{secret}".encode()).decode()
            self._headers["Authorization"] = f"Basic {credentials}"
        elif secret:
            self._headers["Authorization"] = f"Bearer {secret}"

    def schema(self, schema_id: int, *, serialized: bool = False) -> RegisteredSchema:
        """Return the schema of this number; `serialized` asks for a descriptor, which only Protobuf has."""
        return self._get(f"/schemas/ids/{schema_id}", serialized, f"a schema {schema_id}")

    def references_of(
        self, schema: RegisteredSchema, *, serialized: bool = False
    ) -> list[tuple[str, RegisteredSchema]]:
        """Return all that a schema imports, by name, those first that others of them import."""
        found: dict[str, RegisteredSchema] = {}
        size = len(schema.schema)
        for reference, imported in self._imports_of(schema, serialized, set()):
            found.setdefault(reference.name, imported)
            size += len(imported.schema)
            if size > MAX_SCHEMA_BYTES or len(found) > MAX_REFERENCES:
                raise _too_large()
        return list(found.items())

    def _imports_of(
        self, schema: RegisteredSchema, serialized: bool, seen: set[tuple[str, int]]
    ) -> Iterator[tuple[SchemaReference, RegisteredSchema]]:
        for reference in schema.references:
            place = (reference.subject, reference.version)
            if place in seen:
                continue
            seen.add(place)
            if len(seen) > MAX_REFERENCES:
                raise _too_large()
            path = f"/subjects/{quote(reference.subject, safe='')}/versions/{reference.version}"
            name = f"version {reference.version} of {printable(reference.subject)}"
            imported = self._get(path, serialized, name)
            yield from self._imports_of(imported, serialized, seen)
            yield reference, imported

    def _get(self, path: str, serialized: bool, name: str) -> RegisteredSchema:
        url = f"{self._url}{path}{'?format=serialized' if serialized else ''}"
        try:
            answer = exchange(
                "GET",
                url,
                headers=self._headers,
                deadline=DEADLINE_SECONDS,
                max_bytes=2 * MAX_SCHEMA_BYTES,  # as JSON escapes the quotation marks of a schema
            )
        except RequestFailed as error:
            if _says_not_found(error):
                raise Undecodable(UNKNOWN_SCHEMA, f"The schema registry has not got {name}.") from error
            raise ConnectorFailed(_describe(error)) from error
        if not answer.text.lstrip()[:1] == "{":
            raise ConnectorFailed(_NO_SCHEMA)
        if len(answer.text) >= MAX_SCHEMA_BYTES:
            raise _too_large()
        try:
            return msgspec.json.decode(answer.text, type=RegisteredSchema)
        except UNREADABLE as error:
            raise ConnectorFailed(_NO_SCHEMA) from error


def _too_large() -> Undecodable:
    detail = f"The schema has more than {MAX_SCHEMA_BYTES >> 10:,} KiB, or more than {MAX_REFERENCES} others in it."
    return Undecodable(SCHEMA_TOO_LARGE, detail)


def _says_not_found(error: RequestFailed) -> bool:
    """Return whether the registry itself has no such schema; a 404 of another server says nothing of schemas."""
    if error.status != HTTPStatus.NOT_FOUND:
        return False
    try:
        return msgspec.json.decode(error.body, type=_Error).error_code in _NOT_FOUND
    except UNREADABLE:
        return False


def _describe(error: RequestFailed) -> str:
    """Return why a registry gives no schema; of a stranger's network not whether a port is closed or silent."""
    match error.status:
        case None if error.is_silence:
            return "The schema registry does not answer."
        case None:
            return f"The schema registry cannot be asked: {error}."
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return f"The schema registry answered {error.status}: it does not take the user and the secret."
        case HTTPStatus.NOT_FOUND:
            return "The schema registry answered 404 and is no schema registry; check its URL."
    return f"The schema registry answered {error.status}."
