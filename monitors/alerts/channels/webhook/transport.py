"""Messages over the guarded transport of `driftline.base.outbound`, with its failures as those of deliveries."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from driftline.base.outbound import transport
from driftline.base.outbound.transport import DEADLINE_SECONDS, Line, RequestFailed
from monitors.alerts.channels.base import DeliveryFailed, Receipt


def post(url: str, *, body: bytes, headers: dict[str, str], deadline: float = DEADLINE_SECONDS) -> Receipt:
    """Send `body` and give the receiver's answer when it is 2xx; everything else raises `DeliveryFailed`."""
    with delivery_failures():
        answer = transport.exchange("POST", url, body=body, headers=headers, deadline=deadline)
    return Receipt(answer.status, answer.text)


def within_deadline(work: Callable[[Line], Receipt], deadline: float = DEADLINE_SECONDS) -> Receipt:
    """Return what `work` returns; raises `DeliveryFailed` where it takes longer than `deadline` seconds."""
    with delivery_failures():
        return transport.within_deadline(work, deadline)


@contextmanager
def delivery_failures() -> Iterator[None]:
    """Raise `DeliveryFailed` for a request that failed."""
    try:
        yield
    except DeliveryFailed:
        raise
    except RequestFailed as error:
        raise DeliveryFailed(
            str(error), permanent=error.permanent, status=error.status, retry_after=error.retry_after
        ) from error
