"""What a caller prefers (RFC 7240): an answer later instead of now, and how long it would wait before that."""

from collections.abc import Iterator

from msgspec import Struct

MAX_BYTES = 1024  # of a header that are read, character by character and before it is known who sent them


class Preferences(Struct, frozen=True):
    """Whether the caller would rather be answered later, and the seconds for which it would wait before."""

    respond_async: bool = False
    wait_seconds: int | None = None


def read_preferences(header: bytes) -> Preferences:
    """Read a Prefer header. What is unknown or cannot be read counts as not said; of two, the first counts.

    So does what does not end within MAX_BYTES.
    """
    if len(header) > MAX_BYTES:
        header = header[:MAX_BYTES].rpartition(b",")[0]
    words: dict[str, str] = {}
    for item in _split(header.decode("latin-1"), ","):
        name, _, word = next(_split(item, ";")).partition("=")
        words.setdefault(name.strip().lower(), word.strip().strip('"'))
    wait = words.get("wait", "")
    seconds = int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else None
    return Preferences("respond-async" in words, seconds)


def _split(text: str, at: str) -> Iterator[str]:
    """Split at a character where it does not stand in a quoted string; one pass, whatever the text is."""
    start, is_quoted, is_escaped = 0, False, False
    for place, character in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif character == '"':
            is_quoted = not is_quoted
        elif is_quoted:
            is_escaped = character == "\\"
        elif character == at:
            yield text[start:place]
            start = place + 1
    yield text[start:]
