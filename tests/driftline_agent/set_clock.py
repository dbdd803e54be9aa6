"""A clock of a device that tests set."""

from driftline_agent.server.device_clock import DeviceClock
from tests.driftline_agent.device import YEAR_2026_MS


class SetClock(DeviceClock):
    """A clock that tests set."""

    def __init__(self, boot: str = "first", running: int = 1_000, wall: int = YEAR_2026_MS) -> None:
        super().__init__()
        self.boot, self.running, self.wall = boot, running, wall

    def running_ms(self) -> int:
        return self.running

    def wall_ms(self) -> int:
        return self.wall

    def hear(self, server_ms: int) -> None:
        """Learn the server's time, as if its `Date` came with no delay."""
        self.observe(server_ms - 500, sent_ms=self.running, received_ms=self.running)

    def forget(self) -> None:
        """Know nothing of the server, as after a start without a network."""
        self._lower = None
