"""Protobuf's text format without a schema: Triton's and TensorFlow Serving's settings.

Their schemas have hundreds of fields. Read as a tree, each field that is set can be told to have come along or not,
also one that a newer server has. https://protobuf.dev/reference/protobuf/textformat-spec
"""

import re
import warnings
from dataclasses import dataclass, field

from google.protobuf.text_format import ParseError, Tokenizer

from inference.registry.importers.source_model import MigrationRefused

DEEPEST = 16
MAX_VALUES = 100_000
_SCALAR = re.compile(r"-?[A-Za-z0-9_.+-]+")


@dataclass(frozen=True)
class ProtobufMessage:
    """A message's fields in order of their first mention: texts (numbers and names as they are written), messages."""

    fields: dict[str, list["str | ProtobufMessage"]] = field(default_factory=dict)

    def texts(self, name: str) -> list[str]:
        """Return a field's scalars; MigrationRefused where one of them is a message."""
        values = self.fields.get(name, [])
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) != len(values):
            raise MigrationRefused(f"The field {name!r} is a message and should be one value.")
        return texts

    def text(self, name: str, default: str = "") -> str:
        """Return a field's last scalar, as protobuf does."""
        return (self.texts(name) or [default])[-1]

    def numbers(self, name: str) -> list[int]:
        """Return a field's whole numbers; MigrationRefused where one is none."""
        try:
            return [int(text, 0) for text in self.texts(name)]
        except ValueError as error:
            raise MigrationRefused(
                f"The field {name!r} is {self.text(name)[:64]!r} and not a whole number."
            ) from error

    def messages(self, name: str) -> list["ProtobufMessage"]:
        """Return a field's messages; MigrationRefused where one is a scalar."""
        values = self.fields.get(name, [])
        messages = [value for value in values if isinstance(value, ProtobufMessage)]
        if len(messages) != len(values):
            raise MigrationRefused(f"The field {name!r} should be a message, {{ ... }}.")
        return messages

    def message(self, name: str) -> "ProtobufMessage":
        """Return a field's last message, an empty one where there is none."""
        return (self.messages(name) or [ProtobufMessage()])[-1]


def read_message(text: str, place: str) -> ProtobufMessage:
    """Read a file's message; MigrationRefused names the line and the column."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # Python's, of an escape that there is not
            return _Reader(text).read()
    except (ParseError, DeprecationWarning) as error:
        raise MigrationRefused(f"{place} is not in protobuf's text format: {str(error)[:300]}") from error


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = Tokenizer(text.split("\n"))
        self._values = 0

    def read(self) -> ProtobufMessage:
        return self._message(None, depth=0)

    def _message(self, end: str | None, depth: int) -> ProtobufMessage:
        tokens, fields = self._tokens, dict[str, list[str | ProtobufMessage]]()
        if depth > DEEPEST:
            raise ParseError(f"more than {DEEPEST} messages within each other")
        while not (tokens.AtEnd() if end is None else tokens.TryConsume(end)):
            if tokens.AtEnd():
                raise ParseError(f"the file ends before a {end!r}")
            name = tokens.ConsumeIdentifier()
            fields.setdefault(name, []).extend(self._field(depth))
            if not tokens.TryConsume(","):
                tokens.TryConsume(";")
        return ProtobufMessage(fields)

    def _field(self, depth: int) -> list[str | ProtobufMessage]:
        has_colon = self._tokens.TryConsume(":")
        if not self._tokens.TryConsume("["):
            return [self._value(depth, has_colon)]
        values = list[str | ProtobufMessage]()
        while not self._tokens.TryConsume("]"):
            if values:
                self._tokens.Consume(",")
            values.append(self._value(depth, has_colon=True))
        return values

    def _value(self, depth: int, has_colon: bool) -> "str | ProtobufMessage":
        self._values += 1
        if self._values > MAX_VALUES:
            raise ParseError(f"more than {MAX_VALUES:,} values")
        for opening, closing in (("{", "}"), ("<", ">")):
            if self._tokens.TryConsume(opening):
                return self._message(closing, depth + 1)
        if not has_colon:
            self._tokens.Consume(":")
        return self._scalar()

    def _scalar(self) -> str:
        token = self._tokens.token
        if token.startswith(("'", '"')):
            return self._tokens.ConsumeString()
        sign = "-" if self._tokens.TryConsume("-") else ""
        token = sign + self._tokens.token
        if not _SCALAR.fullmatch(token):
            raise self._tokens.ParseError(f"Expected a value and found {token[:64]!r}")  # type: ignore[arg-type]
        self._tokens.NextToken()
        return token
