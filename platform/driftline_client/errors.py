"""The one exception of the client."""


class DriftlineError(Exception):
    """Something that cannot be sent, or an answer that is an error; `status` is the HTTP status where there is one."""

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
