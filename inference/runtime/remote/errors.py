"""Why another server gave no answer, in the words that our own callers get."""


class UpstreamFailed(Exception):
    """The server that answers for a version did not; as far as it tells, whoever asked is not at fault.

    `kind` names the reason in counts, `status` is that of HTTP for the caller. `may_pass` tells that the same call
    may succeed at once, `retry_s` after how many seconds it is worth asking again.
    """

    fault = "upstream"  # the reason in counts of requests

    def __init__(
        self, kind: str, status: int, sentence: str, *, may_pass: bool = False, retry_s: float | None = None
    ) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.status = status
        self.may_pass = may_pass
        self.retry_s = retry_s

    @property
    def may_be_one_requests_fault(self) -> bool:
        """Return whether one request may have failed all that were asked together.

        Many servers know no better than 500, or TorchServe 503, for a row that their model cannot take, and give NaN
        as what is not JSON.
        """
        return self.kind in ("status", "garbage", "loop") or (self.kind == "busy" and self.may_pass)


class ValuesRefused(Exception):
    """The other server refuses the values that it was sent."""


class CallEnded(Exception):
    """The call was ended before the other server had answered."""


def garbage(what: str) -> UpstreamFailed:
    """Return the failure that what the other server answered is no answer; `what` follows "its answer"."""
    return UpstreamFailed("garbage", 502, f"The model's server gave no usable answer: {what}.")
