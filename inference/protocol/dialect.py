"""The seam between protocols and the engine: a dialect reads requests into one typed form and writes answers.

The engine knows no protocol. Whoever takes a request off the wire names its dialect; a dialect's codec, compiled
for one version, does the rest.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from inference.protocol.header_facts import FACT_HEADERS
from inference.protocol.hops import HOPS
from inference.protocol.results import BatchOutputs
from inference.protocol.v2.parameters import RowFacts
from inference.protocol.v2.tensors import Buffer
from inference.signatures import Signature

Headers = Mapping[bytes, bytes]  # by lower-case name; only those of RELEVANT_HEADERS

JOB_HEADERS = frozenset({b"prefer", b"driftline-callback"})  # whoever sends one may want to be answered later
TRACEPARENT = b"traceparent"
RELEVANT_HEADERS = JOB_HEADERS.union(
    {b"accept-encoding", b"content-encoding", b"inference-header-content-length", TRACEPARENT, HOPS},
    FACT_HEADERS,
)
JSON_FIELDS = b"content-type: application/json\r\n"


class Target(Struct, frozen=True):
    """What a path names: a model, and a version, or the label that points at one, or neither for the champion.

    `is_only` stands for the one model that the caller's project has, where a path names none.
    """

    model: str
    version: str | None = None
    label: str | None = None
    is_only: bool = False


ONLY_MODEL = Target("", is_only=True)


class InferRequest(Struct):
    """A request that fits its version's signature.

    `tensors` follow the signature's inputs; `outputs` are indices into its outputs, in the order asked for.
    `answer_form` is what its codec remembers to write the answer as the caller wants it, `hops` how often it was
    forwarded on its way here.
    """

    rows: int
    tensors: list[Buffer]
    client_id: str | None
    outputs: Sequence[int]
    facts: RowFacts
    answer_form: Any = None
    hops: int = 0


class HttpBody(Struct):
    """A body with the header lines that belong to it, each with its line end."""

    content: bytes
    fields: bytes = JSON_FIELDS


class Codec[Body, Content](Protocol):
    """A dialect's translation for one version, from what comes off the wire to what goes back."""

    def decode(self, body: Body, headers: Headers) -> InferRequest:
        """Read a request; raise InvalidRequest with a sentence where it does not fit."""
        ...

    def encode(self, outputs: BatchOutputs, start: int, stop: int, request: InferRequest) -> Content:
        """Write the answer to a request whose rows are `start` to `stop` of a batch."""
        ...


class Dialect[Body, Content](Protocol):
    """One protocol. Its paths are no other dialect's, because admissions are remembered by path."""

    usage: str  # the path to post to, for messages

    def parse_path(self, path: bytes) -> Target | None:
        """Read what a path names; None for a path that names nothing."""
        ...

    def compile(self, model: str, version: str, signature: Signature) -> Codec[Body, Content]:
        """Make the codec of a version."""
        ...


class HttpDialect(Dialect[bytes, HttpBody], Protocol):
    """A protocol over HTTP."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the methods with which it takes inference requests."""
        ...

    def takes(self, path: bytes) -> bool:
        """Return whether a request to this path is one for inference in this dialect."""
        ...

    def write_error(self, status: int, sentence: str) -> HttpBody:
        """Write an error in the protocol's own shape."""
        ...
