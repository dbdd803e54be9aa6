"""The exceptions of the client: all of them are a DriftlineError."""


class DriftlineError(Exception):
    """Something that cannot be sent, or an answer that is an error; `status` is the HTTP status where there is one."""

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


class NotAnswered(DriftlineError):
    """Nobody answers at the address, or what does is not reached."""


class NotQueued(DriftlineError):
    """An item that is right, but for which there is no room; `reason` is what it is counted under."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
