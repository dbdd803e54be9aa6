"""The one error that domain code raises towards a caller; edges turn it into problem details (RFC 9457)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta, MsgspecError

UNREADABLE = (MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises at bytes of somebody else: not of the type, not UTF-8 within a text, or nested too deep."""


@dataclass(frozen=True)
class FieldFault:
    """One field that was wrong: where it is (JSON pointer), a stable code, and a sentence."""

    pointer: Annotated[str, Meta(description="A JSON pointer into the body, or `/` and a parameter's name.")]
    code: str
    detail: str


@dataclass
class Problem(Exception):
    """Something the caller can mend: an HTTP status, a stable code, and a sentence that says what to do."""

    status: int
    code: str
    detail: str
    errors: Sequence[FieldFault] = ()
    retry_after: int | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.detail


def not_found(what: str) -> Problem:
    """Refuse an object that does not exist or that this actor may not see: the two look the same."""
    return Problem(404, f"{what}_not_found", f"There is no such {what} in this project.")


def invalid(pointer: str, detail: str, code: str = "invalid_parameter") -> Problem:
    """Refuse one field."""
    return Problem(422, code, detail, [FieldFault(pointer, code, detail)])
