"""What goes wrong with an agent, in words for people."""


class AgentError(Exception):
    """Something that the person who runs the agent can mend."""


class NotReached(Exception):
    """The server did not answer, or is busy: the same request may succeed later."""


class Revoked(Exception):
    """The server does not know the device's token any more."""


class ServerRefused(Exception):
    """Driftline itself refused a request, which it will refuse again; `status` is that of HTTP."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status = status
        super().__init__(sentence)


class ModelRefused(Exception):
    """A version cannot answer on this device: its manifest, its file or its answers are wrong."""


class BadRequest(Exception):
    """A request that the model cannot answer; the text names the field."""
