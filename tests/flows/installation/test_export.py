"""A large log is downloaded whole while the server that sends it stays small."""

import random
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from driftline.base.periods import rfc3339
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import SERVER, SERVING, Installation

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

BATCHES, ROWS, LETTERS = 80, 50, 50_000
UNPACKED = BATCHES * ROWS * LETTERS  # 200 MB


def test_memory_does_not_grow_with_the_log_that_is_downloaded(
    installation: Installation, tell: Tell, tmp_path: Path
) -> None:
    fill_log(installation)
    servers = [one.pid for what in (SERVER, SERVING) for one in installation.running(what)]
    before = {pid: memory(pid) for pid in servers if forget_peak(pid)}
    target = tmp_path / "log.parquet"

    with target.open("wb") as file:
        for block in download(installation):
            file.write(block)

    grown = max(memory(pid) - before[pid] for pid in before)
    told = pq.ParquetFile(target)
    tell(
        f"downloaded {told.metadata.num_rows:,} rows ({UNPACKED / 1e6:.0f} MB of text, "
        f"{target.stat().st_size / 1e6:.0f} MB of Parquet); memory grew by {grown / 1e6:.0f} MB"
    )
    assert told.metadata.num_rows == BATCHES * ROWS
    assert grown < 0.75 * UNPACKED


def fill_log(installation: Installation) -> None:
    """Log rows of a model that others serve, whose text cannot be compressed to less than half."""
    rng = random.Random(7)
    now = datetime.now(UTC)
    with closing(installation.api()) as api:
        api.post("/api/v1/models", {"name": "large", "task": "binary"})
        for batch in range(BATCHES):
            rows = [
                {
                    "id": f"{batch}-{row}",
                    "timestamp": rfc3339(now - timedelta(seconds=batch)),
                    "version": "1",
                    "features": {"f0": 1.0, "text": rng.randbytes(LETTERS // 2).hex()},
                    "prediction": "1",
                }
                for row in range(ROWS)
            ]
            told = api.post("/api/v1/models/large/predictions", {"predictions": rows})
            assert told["accepted"] == ROWS, told


def download(installation: Installation) -> Iterator[bytes]:
    url = f"http://127.0.0.1:{installation.port}/api/v1/models/large/export"
    headers = {"Authorization": f"Bearer {installation.token}"}
    with httpx.stream("GET", url, headers=headers, timeout=120) as answer:
        assert answer.status_code == 200
        yield from answer.iter_bytes()


def forget_peak(pid: int) -> bool:
    """Let the kernel count a process's largest memory anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return True


def memory(pid: int) -> int:
    """Tell the most memory that a process had, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM")]
    return int(peak.split()[1]) * 1024
