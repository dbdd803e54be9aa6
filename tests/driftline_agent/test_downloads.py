"""A file that does not arrive takes no room from the rows of the device."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from driftline_agent.device_clock import DeviceClock
from driftline_agent.errors import NotReached
from driftline_agent.manifest import Manifest, read_manifest
from driftline_agent.uplink import DownloadFailed, Uplink
from tests.driftline_agent.device import IDENTITY, signed, times

MANIFEST = read_manifest(signed(times(1)), keys=[IDENTITY.public_key], device=IDENTITY.device)


def broken_off() -> Iterator[bytes]:
    yield times(1)[:50]
    raise httpx.ReadError("the network is away")


def larger() -> Iterator[bytes]:
    yield times(1) * 2


def download(content: Callable[[], Iterator[bytes]], folder: Path, manifest: Manifest = MANIFEST) -> None:
    uplink = Uplink(IDENTITY.url, IDENTITY.token, DeviceClock(), IDENTITY.public_key)
    uplink.close()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=content()))
    uplink._client = httpx.Client(base_url=IDENTITY.url, transport=transport)
    try:
        uplink.download(manifest, folder / "draft", folder / "model.onnx")
    finally:
        uplink.close()


@pytest.mark.parametrize(("content", "error"), [(broken_off, NotReached), (larger, DownloadFailed)])
def test_a_download_that_fails_leaves_no_part_on_the_disk(
    content: Callable[[], Iterator[bytes]], error: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(error):
        download(content, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_larger_than_the_disk_has_room_is_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "draft").write_bytes(b"of a power cut")

    with pytest.raises(DownloadFailed, match=r"the disk room for [\d,]+$"):
        download(pytest.fail, tmp_path, replace(MANIFEST, size=1 << 60))

    assert list(tmp_path.iterdir()) == []


def test_a_whole_file_takes_its_name(tmp_path: Path) -> None:
    download(lambda: iter([times(1)]), tmp_path)

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("model.onnx", times(1))]
