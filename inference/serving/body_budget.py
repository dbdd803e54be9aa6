"""A bound for the bytes of all requests that a process holds, from their first byte to their answer."""

from inference.serving.refusals import Refusal, overloaded, too_many

MAX_BYTES = 256 * 1024 * 1024
OVERHEAD_BYTES = 2048  # of a request, whatever its size


class BodyBudget:
    """Counts bytes by project; no project may hold more than half of them."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.by_project: dict[int, int] = {}

    def hold(self, project_id: int) -> "Hold":
        """Begin to count a request's bytes."""
        return Hold(self, project_id)


class Hold:
    """The room that one request takes; it does the budget's sums itself, as each request takes and gives back."""

    __slots__ = ("_budget", "_project_id", "_size")

    def __init__(self, budget: BodyBudget, project_id: int) -> None:
        self._budget = budget
        self._project_id = project_id
        self._size = 0

    def take(self, size: int) -> Refusal | None:
        """Take room for more bytes; where there is none, all is given back and the reason returned."""
        budget = self._budget
        if not self._size:
            size += OVERHEAD_BYTES
        held = budget.by_project.get(self._project_id, 0) + size
        if budget.bytes + size > budget.max_bytes:
            self.release()
            return overloaded("The requests under way fill the memory set aside for them; ask again.")
        if held > budget.max_bytes // 2:
            self.release()
            return too_many("This project's requests under way hold half of the memory; wait for answers.")
        budget.by_project[self._project_id] = held
        budget.bytes += size
        self._size += size
        return None

    def release(self) -> None:
        """Release all; safe to repeat."""
        if not self._size:
            return
        budget = self._budget
        budget.bytes -= self._size
        held = budget.by_project[self._project_id] - self._size
        if held:
            budget.by_project[self._project_id] = held
        else:
            del budget.by_project[self._project_id]
        self._size = 0
