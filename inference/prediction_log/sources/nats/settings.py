"""Where a source of JetStream reads, as people set it; no client of NATS is needed to check it."""

from typing import ClassVar, Literal

from pydantic import Field

from inference.prediction_log.sources.servers import MessageServer


class NatsSettings(MessageServer):
    """A server and a stream of it, and how to sign in; the secret is a password, or a token where there is no user."""

    protocol: ClassVar[str] = "NATS"

    kind: Literal["nats"] = "nats"
    server: str = Field(max_length=260, description="such as nats.example.com:4222")
    stream: str = Field(pattern=r"^[A-Za-z0-9_-]{1,200}$", description="of JetStream")
    subject: str = Field(
        default="",
        max_length=200,
        pattern=r"^[!-~]*$",
        description="of the messages that are read, such as scores.*; empty: all of the stream",
    )
    start: Literal["earliest", "latest"] = Field(
        default="earliest", description="where a stream is begun that was never read"
    )
    user: str = Field(
        default="", max_length=255, description="empty: the secret, if there is one, is a token"
    )

    def partition(self) -> str:
        """Name what a position is of: another stream or subject begins anew."""
        return f"{self.stream}/{self.subject}" if self.subject else self.stream
