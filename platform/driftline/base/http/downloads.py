"""Sends files of any size to callers in constant memory."""

import os
import re
from collections.abc import AsyncIterator, Iterator
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.http import content_disposition_header

_BLOCK = 1 << 20
_FROM = re.compile(r"bytes=(\d{1,18})-", re.ASCII)


class Download(StreamingHttpResponse):
    """The next `length` bytes of an open file, which is closed with the response."""

    def __init__(
        self,
        request: HttpRequest,
        file: IO[bytes],
        *,
        length: int,
        name: str,
        content_type: str,
        is_attachment: bool = True,
    ) -> None:
        blocks = _blocks(file, length)
        # Django gathers a plain iterator whole before an ASGI server gets any of it
        content: Any = _read_off_the_loop(blocks) if isinstance(request, ASGIRequest) else blocks
        super().__init__(content, content_type=content_type)
        self._file = file
        self["Content-Length"] = str(length)
        self["Content-Disposition"] = content_disposition_header(is_attachment, name) or "attachment"

    def close(self) -> None:
        self._file.close()  # first, as what Django does at the end of a request can fail
        super().close()


def whole_file(
    request: HttpRequest, file: IO[bytes], *, name: str, content_type: str, is_attachment: bool = True
) -> Download:
    """Return an open file from its first byte to its last."""
    return Download(
        request,
        file,
        length=_size_of(file),
        name=name,
        content_type=content_type,
        is_attachment=is_attachment,
    )


def rest_of_file(request: HttpRequest, file: IO[bytes], *, name: str) -> Download:
    """Return an open file that never changes, from the byte on that a `Range` such as `bytes=1000-` names, with 206.

    Any other range is answered with all of the file, as RFC 9110, section 14.2, lets a server do, and so is one with
    `If-Range`, as the file has no validator.
    """
    size = _size_of(file)
    asked = None if "If-Range" in request.headers else _FROM.fullmatch(request.headers.get("Range", ""))
    begin = int(asked[1]) if asked else 0
    if begin >= size:
        begin = 0
    file.seek(begin)
    answer = Download(request, file, length=size - begin, name=name, content_type="application/octet-stream")
    answer["Accept-Ranges"] = "bytes"
    if begin:
        answer.status_code = 206
        answer["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
    return answer


def _size_of(file: IO[bytes]) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _blocks(file: IO[bytes], length: int) -> Iterator[bytes]:
    while length and (block := file.read(min(_BLOCK, length))):
        length -= len(block)
        yield block


async def _read_off_the_loop(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while block := await sync_to_async(_next_of)(blocks):
        yield block


def _next_of(blocks: Iterator[bytes]) -> bytes:
    return next(blocks, b"")
