"""Gives files of any size to callers in constant memory."""

from collections.abc import AsyncIterator, Iterator
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.http import content_disposition_header

_BLOCK = 1 << 20


class Download(StreamingHttpResponse):
    """The first `length` bytes of an open file, which is closed with the response."""

    def __init__(
        self, request: HttpRequest, file: IO[bytes], *, length: int, name: str, content_type: str
    ) -> None:
        blocks = _blocks(file, length)
        # Django gathers a plain iterator whole before an ASGI server gets any of it
        content: Any = _read_off_the_loop(blocks) if isinstance(request, ASGIRequest) else blocks
        super().__init__(content, content_type=content_type)
        self._file = file
        self["Content-Length"] = str(length)
        self["Content-Disposition"] = content_disposition_header(True, name) or "attachment"

    def close(self) -> None:
        super().close()
        self._file.close()


def _blocks(file: IO[bytes], length: int) -> Iterator[bytes]:
    while length and (block := file.read(min(_BLOCK, length))):
        length -= len(block)
        yield block


async def _read_off_the_loop(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while block := await sync_to_async(_next_of)(blocks):
        yield block


def _next_of(blocks: Iterator[bytes]) -> bytes:
    return next(blocks, b"")
