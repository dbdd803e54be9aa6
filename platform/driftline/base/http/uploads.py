"""How much callers may send, and how a file that they upload is received."""

import hashlib
from typing import IO, Protocol

MAX_BODY_BYTES = 32 << 20  # of a body that is read whole
MAX_UPLOAD_BYTES = 2 << 30  # of a file
_BLOCK_BYTES = 1 << 20


class Readable(Protocol):
    """Anything that gives its bytes in pieces, and b"" at its end."""

    def read(self, size: int, /) -> bytes: ...


def receive_file(
    stream: Readable, target: IO[bytes], *, too_large: Exception, max_bytes: int = MAX_UPLOAD_BYTES
) -> tuple[str, int]:
    """Copy an uploaded file, and return its SHA-256 digest and size; raise `too_large` past `max_bytes`."""
    digest, size = hashlib.sha256(), 0
    while block := stream.read(_BLOCK_BYTES):
        size += len(block)
        if size > max_bytes:
            raise too_large
        digest.update(block)
        target.write(block)
    target.flush()
    return digest.hexdigest(), size
