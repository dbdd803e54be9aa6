"""What a serving process and the process of a model tell each other: 32 bytes each, and a sentence where one failed."""

import struct
from enum import IntEnum

from msgspec import Struct

VALUES, ANSWER = 1, 2
_FORM = struct.Struct("<IIQQQ")
HEAD_BYTES = _FORM.size
MAX_TEXT_BYTES = 4096
STOP = struct.Struct("<Q")
"""What goes over the second socket: the number of the run that is to stop before its next node."""


class MessageKind(IntEnum):
    LOAD = 1  # with the handles of both areas and of the model's memory
    RUN = 2  # with the handles of the areas that are others than before
    ROOM = 3  # with the handle of a new area for the answer; without, there is to be none
    ANSWER = 4
    NEEDS_ROOM = 5  # the answer takes `size` bytes
    FAILED = 6  # with a sentence
    REFUSED = 7  # with a sentence: the model cannot be loaded
    EXHAUSTED = 8  # with a sentence: a run failed for want of memory, which the process may keep


FROM_CHILD = frozenset(MessageKind) - {MessageKind.LOAD, MessageKind.RUN, MessageKind.ROOM}


class RunMessage(Struct, frozen=True):
    """A message about run number `run`, with the place of the headers in the area, which end at `size`.

    `areas` says of which areas the handles are that go along: 1 for the values, 2 for the answer, 3 for both.
    """

    kind: MessageKind
    run: int
    header_at: int = 0
    size: int = 0
    areas: int = 0
    text: str = ""

    def encode(self) -> bytes:
        head = _FORM.pack(self.kind, self.areas, self.run, self.header_at, self.size)
        return head + self.text.encode(errors="replace")[:MAX_TEXT_BYTES] if self.text else head


def decode_message(data: bytes) -> RunMessage:
    """Read a message; raise ValueError where it is none."""
    if len(data) < HEAD_BYTES:
        raise ValueError("A message is too short.")
    kind, areas, run, header_at, size = _FORM.unpack_from(data)
    text = data[HEAD_BYTES:].decode(errors="replace") if len(data) > HEAD_BYTES else ""
    return RunMessage(MessageKind(kind), run, header_at, size, areas, text)
