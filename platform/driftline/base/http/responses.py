"""What the API answers, as typed values: msgspec writes them, and `openapi.json` is made of their types.

A stage keeps its answers in its `schemas.py`. They are not validated when they are sent: the type checker reads the
code that makes them, and the tests check every body against `openapi.json`. pydantic would need ten times as long for
a list of ten thousand points.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

Time = Annotated[datetime, Meta(tz=True)]
"""A moment, written as RFC 3339 in UTC."""


class ResponseBody(Struct, frozen=True):
    """An object of an answer; a field that is UNSET is left out."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        """Make django-ninja pass answers on as they are."""
        from pydantic_core import core_schema  # a serving host has none

        return core_schema.any_schema()


class Page[Item](ResponseBody, frozen=True):
    """One page of a list; `next` is the cursor of the page after it."""

    items: list[Item]
    next: str | None


def one_of(values: Iterable[str]) -> Meta:
    """Return what an annotation of `str` needs so that `openapi.json` lists the values."""
    return Meta(extra_json_schema={"enum": [str(value) for value in values]})


def files(*kinds: str) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that answers with a file of one of these media types."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
    return {"responses": {200: {"content": content}}}


def write_json(data: Any) -> bytes:
    """Write responses and plain values as JSON; NaN becomes null: it is no JSON."""
    return msgspec.json.encode(data, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """Return what msgspec does not take for plain as it is: numbers of numpy, and subclasses of str."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{type(value)} is not a value of JSON")
