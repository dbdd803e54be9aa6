"""How a subject's key is found in values, texts and files, in whatever way it is written there."""

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote, quote_plus

import orjson
from msgspec import Struct

MIN_LENGTH_IN_TEXT = 6  # a shorter key would be any number or word in a sentence
MIN_UNSEEN_LENGTH = 8  # of a key that is taken for a category although no row of the subject has it as one
ERASED = "[erased]"


class ErasedRow(Struct, frozen=True, array_like=True):
    """A row of the subject as the log held it; `time_us` is its event time."""

    model_id: int
    version_id: int
    role: str
    time_us: int
    id: str
    client_id: str | None = None
    named_in: tuple[str, ...] = ()  # the features whose value is the key itself, or its hash


@dataclass(frozen=True)
class Subject:
    """Whom an erasure is about, and the rows of theirs that the log held."""

    key: str
    rows: list[ErasedRow] = field(default_factory=list)

    @cached_property
    def ids(self) -> frozenset[str]:
        """The prediction ids of the rows."""
        return frozenset(row.id for row in self.rows)

    @cached_property
    def request_ids(self) -> frozenset[str]:
        """The ids of the requests that the rows came with: a request of several rows numbers them after a colon."""
        return self.ids | {id_.rpartition(":")[0] for id_ in self.ids}

    @cached_property
    def model_ids(self) -> frozenset[int]:
        return frozenset(row.model_id for row in self.rows)

    def is_named_in(self, model_id: int, feature: str) -> bool:
        """Return whether a value of this feature that is the key means the subject, and not a product of that number.

        Their own rows tell; where none is left, a key that is long enough is taken for what it looks like.
        """
        if self.rows:
            return (model_id, feature) in self._named_in
        return self.is_unmistakable

    @property
    def is_unmistakable(self) -> bool:
        """Return whether the key is long enough to be taken for what it looks like."""
        return len(self.key) >= MIN_UNSEEN_LENGTH

    @cached_property
    def _named_in(self) -> frozenset[tuple[int, str]]:
        return frozenset((row.model_id, feature) for row in self.rows for feature in row.named_in)

    # In values

    def is_value(self, value: object) -> bool:
        """Return whether a whole value is the key, or the id of one of the rows."""
        return isinstance(value, str) and (value == self.key or value in self.ids)

    def scrub(self, value: Any) -> Any:
        """Return a text, or a value of JSON, without the key: what names it says `[erased]` instead."""
        if isinstance(value, str):
            return self._scrub_text(value)
        if isinstance(value, list):
            return [self.scrub(item) for item in value]
        if isinstance(value, dict):
            return {self._scrub_text(name): self.scrub(item) for name, item in value.items()}
        return value

    def _scrub_text(self, text: str) -> str:
        return self._word.sub(ERASED, text) if self._word else text

    def is_in(self, text: str) -> bool:
        """Return whether a text names the key."""
        return bool(self._word and self._word.search(text))

    @cached_property
    def _word(self) -> re.Pattern[str] | None:
        forms = "|".join(map(re.escape, self._forms))
        return re.compile(rf"(?<!\w)(?:{forms})(?!\w)") if forms else None

    # In bytes

    @cached_property
    def _bytes(self) -> re.Pattern[bytes] | None:
        forms = b"|".join(re.escape(form.encode()) for form in self._forms)
        return re.compile(rb"(?<![0-9A-Za-z_])(?:" + forms + rb")(?![0-9A-Za-z_])") if forms else None

    def is_in_bytes(self, content: bytes) -> bool:
        """Return whether a file's content names the key, as UTF-8, in JSON, or in a URL."""
        return bool(self._bytes and self._bytes.search(content))

    def blank(self, content: bytes) -> tuple[bytes, int]:
        """Return as many bytes with an `x` for each byte of the key, and how often it was there."""
        if self._bytes is None:
            return content, 0
        return self._bytes.subn(lambda found: b"x" * len(found[0]), content)

    @cached_property
    def _forms(self) -> list[str]:
        """List how programs write the key, the longest first: in JSON, with escapes alone, and in URLs."""
        if len(self.key) < MIN_LENGTH_IN_TEXT:
            return []
        forms = {
            self.key,
            orjson.dumps(self.key).decode()[1:-1],
            json.dumps(self.key)[1:-1],
            quote(self.key, safe=""),
            quote(self.key),
            quote_plus(self.key),
        }
        return sorted(forms, key=len, reverse=True)
