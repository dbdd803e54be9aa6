"""Why a message cannot be decoded, by stable codes; each makes a dead letter, which is decoded again when retried."""

from inference.prediction_log.sources.reading.messages import Fault

WIRE_MARK = b"\0"
"""With which a message begins that is in the wire format; the number of its schema follows."""

NOT_WIRE_FORMAT = "not_wire_format"
UNKNOWN_SCHEMA = "unknown_schema"
INVALID_SCHEMA = "invalid_schema"
UNSUPPORTED_SCHEMA = "unsupported_schema"
SCHEMA_TOO_LARGE = "schema_too_large"
SCHEMA_TOO_DEEP = "schema_too_deep"
UNFIT_MESSAGE = "does_not_fit_schema"
TRAILING_BYTES = "trailing_bytes"
MESSAGE_TOO_LARGE = "message_too_large"

DECODING_CODES = frozenset(
    {
        NOT_WIRE_FORMAT,
        UNKNOWN_SCHEMA,
        INVALID_SCHEMA,
        UNSUPPORTED_SCHEMA,
        SCHEMA_TOO_LARGE,
        SCHEMA_TOO_DEEP,
        UNFIT_MESSAGE,
        TRAILING_BYTES,
        MESSAGE_TOO_LARGE,
    }
)


class Undecodable(Exception):
    """A message, or every message of a schema, cannot be decoded; the text is a sentence for a person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.fault = Fault(code, detail)
