"""The one way in which an upload is turned away."""


class IntakeRefused(Exception):
    """An upload that will not be served: a stable code, an HTTP status, and a sentence with the remedy.

    `pointer` is an RFC 6901 pointer into the upload's metadata where the fault lies there.
    """

    def __init__(self, code: str, status: int, detail: str, pointer: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status
        self.detail = detail
        self.pointer = pointer


def shown(text: object, length: int = 64) -> str:
    """Quote a caller's value for a message: control characters escaped, cut to `length` characters."""
    quoted = repr(str(text))
    return quoted if len(quoted) <= length else quoted[: length - 1] + "…"
