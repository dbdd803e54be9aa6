"""The receiver of the guide to remote training, run as it stands there."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port
from tests.waiting import wait_until

GUIDE = Path(__file__).resolve().parents[4] / "docs/guides/remote-training.md"


@contextmanager
def guide_receiver(folder: Path, secret: str) -> Iterator[str]:
    """Run the guide's program in a folder; gives the address that takes orders."""
    [program] = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    (folder / "trainer.py").write_text(program)
    port = free_port()
    environment = {**os.environ, "TRAINER_SECRET": secret, "PORT": str(port)}
    process = subprocess.Popen([sys.executable, "trainer.py"], cwd=folder, env=environment)
    try:
        wait_until(lambda: _is_listening(port), what="the receiver's start")
        yield f"http://127.0.0.1:{port}/train"
    finally:
        process.kill()
        process.wait()


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
