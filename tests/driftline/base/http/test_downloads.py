"""Files of any size are given out block by block, whatever server asks for them."""

import asyncio
import io

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.core.signals import request_finished
from django.db import InterfaceError
from django.test import AsyncRequestFactory, RequestFactory

from driftline.base.http.downloads import Download, whole_file

CONTENT = b"0123456789" * 300_000


class CountedFile(io.BytesIO):
    """A file that counts what was read of it."""

    bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        self.bytes_read += len(block)
        return block


def test_an_asynchronous_server_gets_a_first_block_before_the_rest_is_read() -> None:
    file = CountedFile(CONTENT)

    async def first_block_of(answer: Download) -> bytes:
        return await anext(aiter(answer))

    request = AsyncRequestFactory().get("/")
    assert isinstance(request, ASGIRequest)
    first = asyncio.run(first_block_of(whole_file(request, file, name="a", content_type="text/plain")))

    assert first == CONTENT[: file.bytes_read]
    assert len(first) < len(CONTENT)


def test_a_file_comes_whole_with_its_name_and_length() -> None:
    file = CountedFile(CONTENT)

    answer = whole_file(RequestFactory().get("/"), file, name="a.csv", content_type="text/csv")

    assert answer.getvalue() == CONTENT
    assert (answer["Content-Length"], answer["Content-Type"]) == (str(len(CONTENT)), "text/csv")
    assert answer["Content-Disposition"] == 'attachment; filename="a.csv"'


def test_what_a_page_shows_is_no_attachment() -> None:
    answer = whole_file(
        RequestFactory().get("/"),
        CountedFile(b""),
        name="a.html",
        content_type="text/html",
        is_attachment=False,
    )

    assert answer["Content-Disposition"] == 'inline; filename="a.html"'


@pytest.mark.django_db  # as Django looks at its connections when a request ends
def test_the_file_is_closed_although_the_end_of_the_request_fails() -> None:
    def lose_the_database(**_: object) -> None:
        raise InterfaceError("the connection is lost")

    file = CountedFile(b"0123456789")
    answer = whole_file(RequestFactory().get("/"), file, name="a", content_type="text/plain")
    request_finished.connect(lose_the_database)
    try:
        with pytest.raises(InterfaceError):
            answer.close()
    finally:
        request_finished.disconnect(lose_the_database)

    assert file.closed
