"""What every JSON body of the API has in common: unknown fields are refused and nothing is coerced."""

from datetime import datetime
from typing import Annotated, Any

from ninja import Schema
from pydantic import BeforeValidator, ConfigDict

from driftline.base.periods import parse_timestamp

TAG_MARK = "kind="
"""Begins the tags of unions; pydantic puts a tag into the place of an error, and no body has such a name there."""


class Body(Schema):
    """A JSON body whose fields are exactly those named."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def given(self) -> dict[str, Any]:
        """Return the fields that the caller sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def _moment(value: Any) -> datetime:
    if not isinstance(value, str):
        raise ValueError("use an RFC 3339 time with a zone")
    try:
        return parse_timestamp(value)
    except OverflowError as error:
        raise ValueError("use an RFC 3339 time with a zone") from error


type Moment = Annotated[datetime, BeforeValidator(_moment)]
