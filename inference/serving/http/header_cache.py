"""Heads of inference requests, and those that were read before: a caller sends the same one again and again."""

from msgspec import Struct

from inference.protocol.dialect import TRACEPARENT, Headers, HttpDialect

MAX_HEADS = 1024
MAX_HEAD_BYTES = 4096

_END = b"\r\n\r\n"


class Head(Struct, frozen=True):
    """What a request says before its body; `content_length` is None where the body comes in chunks."""

    dialect: HttpDialect
    path: bytes = b""
    authorization: bytes = b""
    relevant_headers: Headers = {}
    keep_alive: bool = False
    content_length: int | None = None
    forwarded_for: bytes = b""


class HeaderCache:
    """Finds what the parser read in a head when the same bytes came before, so that it need not read them again.

    Whether the caller may ask is no part of it, and is decided anew for each request.
    """

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}

    def split(self, data: bytes) -> tuple[Head, bytes] | None:
        """Split what is one whole request with a known head; None for anything else."""
        end = data.find(_END) + len(_END)
        head = self._heads.get(data[:end])
        if head is None or head.content_length != len(data) - end:
            return None
        return head, data[end:]

    def remember(self, head: Head, data: bytes) -> None:
        """Remember the last head that was read in `data`, which began and ended with a request.

        Where `data` holds several requests, more follows its first head than the last body, and none is remembered.
        """
        end = data.find(_END) + len(_END)
        if (
            end > MAX_HEAD_BYTES
            or head.content_length != len(data) - end
            or TRACEPARENT in head.relevant_headers
        ):
            return  # a traceparent comes once
        if not _is_plain(data[:end], head):
            return
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()  # some callers send ever new ones; the others' are soon known again
        self._heads[data[:end]] = head


def _is_plain(text: bytes, head: Head) -> bool:
    """Return whether a head is this one and ends where it seems to, however leniently the parser reads lines."""
    return text.startswith(b"POST %b " % head.path) and text.count(b"\n") == text.count(b"\r\n")
