"""The embedded broker: what was queued outlives it."""

import os
import signal
from pathlib import Path

from kombu import Connection

from driftline.operations.services.urls import embedded_broker_url
from driftline.operations.services.valkey import valkey_child
from tests.embedded import launch, make_home

OPTIONS = {"visibility_timeout": 900, "unacked_restore_interval": 5, "unacked_restore_throttle": 1}


class TestKilledBroker:
    def test_gives_back_every_queued_message(self, tmp_path: Path) -> None:
        paths = make_home(tmp_path / "a home with spaces & 100%")
        process = launch(valkey_child(paths), paths)
        process.wait_ready()
        url = embedded_broker_url(paths.home)
        try:
            with Connection(url, transport_options=OPTIONS) as connection:
                queue = connection.SimpleQueue("kept")
                for number in range(100):
                    queue.put({"number": number})

            os.kill(process.pid or 0, signal.SIGKILL)
            process.clear()
            process.start()
            process.wait_ready()
            with Connection(url, transport_options=OPTIONS) as connection:
                queue = connection.SimpleQueue("kept")
                messages = [queue.get(timeout=5) for _ in range(100)]
                for message in messages:
                    message.ack()
                queue.close()
        finally:
            process.stop()

        assert [message.payload["number"] for message in messages] == list(range(100))
        assert paths.valkey_socket.parent.stat().st_mode & 0o777 == 0o700
