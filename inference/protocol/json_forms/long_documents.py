"""Long JSON requests in short pieces: no step of reading one keeps the interpreter from the event loop for long."""

import re
import time
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

PIECE_BYTES = 16 * 1024  # read in about a tenth of a millisecond
LONG_BYTES = 4 * PIECE_BYTES  # a shorter document is read at once; the engine reads longer ones in a thread
MAX_ARRAYS = 1024  # of a request, one for each input; millions of tiny ones are read faster as one
PAUSE_SECONDS = 0.0001  # after each piece: to give the interpreter up for no time wakes nobody soon enough

# White space as RFC 8259 defines it. `\s` and `bytes.strip()` take a vertical tab and a form feed too, which would
# then be cut out with the white space around them, and let a document pass that is not JSON.
WHITE_SPACE = b" \t\n\r"
DATA = re.compile(rb'"data"[ \t\n\r]*:[ \t\n\r]*\[')  # where the arrays of a V2 request begin
_FIRST = re.compile(rb"[ \t\n\r]*(\[?)")
_END = re.compile(rb"\]")
_END_OF_ROWS = re.compile(rb"\][ \t\n\r]*\]")
_COMMA = re.compile(rb"[ \t\n\r]*,")


class LongArray(Struct):
    """The text of an array's elements, cut between them; those of a `nested` one are lists."""

    pieces: list[bytes]
    nested: bool

    def read(self, decoder: Any) -> Iterator[list[Any]]:
        """Read the elements of each piece with a decoder of lists."""
        for piece in self.pieces:
            yield decoder.decode(b"[%b]" % piece)
            time.sleep(PAUSE_SECONDS)


def cut_data(document: bytes, begin: re.Pattern[bytes] = DATA) -> tuple[bytes, list[LongArray]] | None:
    """Cut the arrays that `begin` finds out of a document; return it with empty ones in their place, and them in order.

    Only a document that is JSON with the empty arrays, and whose pieces are JSON, is JSON as a whole. None where it
    cannot be cut: with a backslash, a quote may be part of a string, without one it begins or ends one. None, too,
    where there are more than MAX_ARRAYS.
    """
    if b"\\" in document:
        return None
    kept: list[bytes] = []
    arrays: list[LongArray] = []
    at = 0
    while (key := begin.search(document, at, at + PIECE_BYTES)) is not None:
        if len(arrays) == MAX_ARRAYS:
            return None
        if document.count(b'"', at, key.start()) % 2:
            return None  # not a key, but inside a string
        cut = _cut_array(document, key.end())
        if cut is None:
            return None
        kept.append(document[at : key.end()])
        arrays.append(cut[0])
        at = cut[1]
    kept.append(document[at : at + PIECE_BYTES])
    is_short = len(document) - at <= PIECE_BYTES and sum(map(len, kept)) <= LONG_BYTES
    return (b"".join(kept), arrays) if arrays and is_short else None


def _cut_array(document: bytes, at: int) -> tuple[LongArray, int] | None:
    """Cut the array whose elements begin at a place; return it with the place of its closing bracket."""
    first = _FIRST.match(document, at, at + PIECE_BYTES)
    array = LongArray([], nested=first is not None and first[1] == b"[")
    while (end := _find_end(document, at, nested=array.nested)) is None:
        cut = _find_cut(document, at, nested=array.nested)
        if cut is None:
            return None
        array.pieces.append(document[at : cut[0]])
        at = cut[1]
    array.pieces.append(document[at : end[0]])
    is_whole = all(piece.strip(WHITE_SPACE) for piece in array.pieces)  # nothing stands between two commas
    return (array, end[1]) if is_whole else None


def _find_end(document: bytes, at: int, *, nested: bool) -> tuple[int, int] | None:
    """Find where the elements end and the closing bracket stands, within the next piece."""
    quotes, seen = 0, at
    for bracket in (_END_OF_ROWS if nested else _END).finditer(document, at, at + PIECE_BYTES):
        quotes += document.count(b'"', seen, bracket.start())
        seen = bracket.start()
        if quotes % 2 == 0:
            return bracket.start() + nested, bracket.end() - 1
    return None


def _find_cut(document: bytes, at: int, *, nested: bool) -> tuple[int, int] | None:
    """Find the last place in the next piece to cut between elements: where the one ends and the next begins."""
    limit = at + PIECE_BYTES
    quotes = document.count(b'"', at, limit)
    while (place := document.rfind(b"]" if nested else b",", at, limit)) >= 0:
        quotes -= document.count(b'"', place, limit)
        limit = place
        comma = _COMMA.match(document, place + nested, place + PIECE_BYTES)
        if quotes % 2 == 0 and comma is not None:
            return place + nested, comma.end()
    return None
