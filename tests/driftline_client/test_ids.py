"""The ids that the client makes."""

import time
import uuid

from driftline_client.ids import new_id
from tests.driftline_client.programs import run

FORKS = """
import os
from driftline_client.ids import new_id
child = os.fork()
made = [new_id() for _ in range(50)]
os.waitpid(child, 0) if child else None
print(*made, sep="\\n", flush=True)
os._exit(0)
"""


class TestNewId:
    def test_is_a_uuid_of_version_7_that_tells_the_time(self) -> None:
        before = time.time_ns() // 1_000_000

        made = uuid.UUID(new_id())

        assert (made.version, made.variant) == (7, uuid.RFC_4122)
        assert before <= made.int >> 80 <= time.time_ns() // 1_000_000

    def test_grows_with_each_id_also_within_a_millisecond(self) -> None:
        made = [new_id() for _ in range(5_000)]

        assert made == sorted(set(made))

    def test_differs_between_a_process_and_its_child(self) -> None:
        made = run(FORKS).stdout.split()

        assert len(set(made)) == len(made) == 100
