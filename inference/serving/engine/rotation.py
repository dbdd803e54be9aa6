"""Turns by project: whoever has much to do waits for whoever has little."""

from collections import deque


class Rotation[Item]:
    """A queue of queues: each `pop` serves the next project, and of a project its oldest item."""

    def __init__(self) -> None:
        self._queues: dict[int, deque[Item]] = {}  # in the order of their turns

    def push(self, project_id: int, item: Item) -> None:
        """Put an item at the end of its project's queue."""
        queue = self._queues.get(project_id)
        if queue is None:
            queue = self._queues[project_id] = deque()
        queue.append(item)

    def pop(self) -> Item:
        """Take the next project's oldest item; raise StopIteration where there is none."""
        project_id = next(iter(self._queues))
        queue = self._queues.pop(project_id)
        item = queue.popleft()
        if queue:
            self._queues[project_id] = queue  # behind all others
        return item

    def __bool__(self) -> bool:
        return bool(self._queues)
