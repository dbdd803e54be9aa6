"""Both ways to bring a file to the disk behave alike."""

import asyncio
import errno
from pathlib import Path

import pytest

from inference.serving.engine.disk_sync import DiskSync, KernelSync, ThreadSync


@pytest.mark.parametrize("way", [KernelSync, ThreadSync])
class TestDiskSync:
    async def sync(self, sync: DiskSync, handle: int) -> int:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        sync.start(handle, done.set_result)
        return await asyncio.wait_for(done, 10)

    async def test_tells_when_a_file_is_on_the_disk(self, way: type[DiskSync], tmp_path: Path) -> None:
        sync = way()
        with (tmp_path / "file").open("wb") as file:
            codes = []
            for _ in range(20):
                file.write(b"x" * 1000)
                file.flush()
                codes.append(await self.sync(sync, file.fileno()))
        sync.close()

        assert codes == [0] * 20

    async def test_tells_what_went_wrong(self, way: type[DiskSync]) -> None:
        sync = way()

        code = await self.sync(sync, 999_999)
        sync.close()

        assert code == errno.EBADF
