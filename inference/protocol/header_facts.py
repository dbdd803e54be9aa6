"""What headers say of a request's rows, for protocols that have no parameters: see parameters.py."""

from collections.abc import Mapping

from inference.protocol.v2.parameters import NO_FACTS, RowFacts, read_parameters
from inference.protocol.v2.tensors import InvalidRequest, shorten

# Headers by lower-case name, and the parameters of the Open Inference Protocol that they stand for.
TEXT_HEADERS = {
    b"driftline-id": "driftline_id",
    b"driftline-timestamp": "driftline_timestamp",
    b"driftline-tags": "driftline_tags",
    b"driftline-subject": "driftline_subject",
}
NUMBER_HEADERS = {b"driftline-timeout": "timeout", b"driftline-priority": "priority"}
FACT_HEADERS = (*TEXT_HEADERS, *NUMBER_HEADERS)


def read_header_facts(
    headers: Mapping[bytes, bytes], rows: int, parameters: Mapping[str, object] | None = None
) -> RowFacts:
    """Read the facts of a request from its headers, and from parameters where it has some; those go first."""
    if not parameters and not any(name in headers for name in FACT_HEADERS):
        return NO_FACTS
    values: dict[str, object] = {
        parameter: _read_text(name, headers[name])
        for name, parameter in TEXT_HEADERS.items()
        if name in headers
    }
    for name, parameter in NUMBER_HEADERS.items():
        if name in headers:
            values[parameter] = read_number(name, headers[name])
    return read_parameters({**values, **(parameters or {})}, rows)


def _read_text(name: bytes, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"The header {_title(name)} is not UTF-8; send text.") from None


def read_number(name: bytes, value: bytes) -> int:
    """Read a whole number from a header; raises InvalidRequest."""
    if not value.isdigit() or len(value) > 18:
        shown = shorten(value.decode("latin-1"))
        raise InvalidRequest(f"The header {_title(name)} is {shown}; send a whole number, or leave it out.")
    return int(value)


def _title(name: bytes) -> str:
    return name.decode().title()
