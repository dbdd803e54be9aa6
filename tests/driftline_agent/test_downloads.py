"""A file that does not arrive takes no room from the rows of the device."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from driftline_agent.errors import NotReached
from driftline_agent.server.device_clock import DeviceClock
from driftline_agent.server.manifest import Manifest, read_manifest
from driftline_agent.server.uplink import DownloadFailed, Uplink
from tests.driftline_agent.device import IDENTITY, signed, times

SIZE = len(times(1))
MANIFEST = read_manifest(signed(times(1)), keys=[IDENTITY.public_key], device=IDENTITY.device)


class Server:
    """Answers downloads of a model, with ranges or without; breaks each off after `until` bytes of the file."""

    def __init__(self, *, until: int | None = None, ranges: bool = True, begin_at: int = 0) -> None:
        self.until, self.ranges, self.begin_at = until, ranges, begin_at
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = request.headers.get("Range", "")
        self.asked.append(asked)
        begin = int(asked.removeprefix("bytes=").removesuffix("-") or 0) if self.ranges else 0
        begin += self.begin_at
        headers = {"Content-Range": f"bytes {begin}-{SIZE - 1}/{SIZE}"} if begin else {}
        return httpx.Response(206 if begin else 200, headers=headers, content=self._content(begin))

    def _content(self, begin: int) -> Iterator[bytes]:
        yield times(1)[begin : self.until]
        if self.until is not None:
            raise httpx.ReadError("the network is away")


def download(
    server: Callable[[httpx.Request], httpx.Response], folder: Path, manifest: Manifest = MANIFEST
) -> None:
    uplink = Uplink(IDENTITY.url, IDENTITY.token, DeviceClock(), IDENTITY.public_key)
    uplink.close()
    uplink._client = httpx.Client(base_url=IDENTITY.url, transport=httpx.MockTransport(server))
    try:
        uplink.download(manifest, folder / "draft", folder / "model.onnx")
    finally:
        uplink.close()


def break_off(folder: Path, *, at: int = 50) -> None:
    with pytest.raises(NotReached):
        download(Server(until=at), folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_download_that_broke_off_goes_on_where_it_was(tmp_path: Path) -> None:
    break_off(tmp_path, at=50)
    break_off(tmp_path, at=70)
    server = Server()

    download(server, tmp_path)

    assert server.asked == ["bytes=70-"]
    assert files(tmp_path) == {"model.onnx": times(1)}


def test_a_server_that_knows_no_ranges_sends_the_file_again(tmp_path: Path) -> None:
    break_off(tmp_path)

    download(Server(ranges=False), tmp_path)

    assert files(tmp_path) == {"model.onnx": times(1)}


def test_another_part_than_the_one_that_is_missing_is_refused(tmp_path: Path) -> None:
    break_off(tmp_path)

    with pytest.raises(DownloadFailed, match="answers 206"):
        download(Server(begin_at=1), tmp_path)

    assert files(tmp_path) == {}


def test_a_part_that_is_as_long_as_the_file_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "draft").write_bytes(b"0" * SIZE)
    server = Server()

    download(server, tmp_path)

    assert server.asked == [""]
    assert files(tmp_path) == {"model.onnx": times(1)}


def test_a_file_that_is_larger_than_said_leaves_no_part_on_the_disk(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="larger than"):
        download(lambda _: httpx.Response(200, content=times(1) * 2), tmp_path)

    assert files(tmp_path) == {}


def test_a_file_that_is_larger_than_the_disk_has_room_is_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "draft").write_bytes(b"of a power cut")

    with pytest.raises(DownloadFailed, match=r"the disk room for [\d,]+$"):
        download(pytest.fail, tmp_path, replace(MANIFEST, size=1 << 60))

    assert files(tmp_path) == {}


def test_a_whole_file_takes_its_name(tmp_path: Path) -> None:
    download(Server(), tmp_path)

    assert files(tmp_path) == {"model.onnx": times(1)}
