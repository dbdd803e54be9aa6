"""A request's body while it arrives, within the bounds that both ways in keep."""

from inference.serving.body_budget import BodyBudget, Hold
from inference.serving.refusals import Refusal

MAX_BODY_BYTES = 16 * 1024 * 1024
TOO_LONG = Refusal(413, f"The body is longer than {MAX_BODY_BYTES} bytes; send fewer rows at a time.")


class IncomingBody(Hold):
    """Collects the pieces of one body, and holds room for them."""

    __slots__ = ("_pieces", "_received_bytes")

    def __init__(self, budget: BodyBudget, project_id: int) -> None:
        super().__init__(budget, project_id)
        self._pieces: list[bytes] = []
        self._received_bytes = 0

    def add(self, piece: bytes, *, is_kept: bool = True) -> Refusal | None:
        """Take a piece that arrived; return why the body is refused, after which no more of it is kept."""
        self._received_bytes += len(piece)
        if self._received_bytes > MAX_BODY_BYTES:
            return TOO_LONG
        if not is_kept:
            return None
        refusal = self.take(len(piece))
        if refusal is None:
            self._pieces.append(piece)
        else:
            self._pieces.clear()
        return refusal

    def join(self) -> bytes:
        """Return the whole body, and keep its pieces no longer."""
        body = b"".join(self._pieces)
        self._pieces = []
        return body

    def check_unpacked(self, body: bytes | Refusal) -> bytes | Refusal:
        """Take room for a body as it was before it was compressed; return it, or why it is refused."""
        refusal = self.take(len(body)) if isinstance(body, bytes) else body
        return body if refusal is None else refusal
