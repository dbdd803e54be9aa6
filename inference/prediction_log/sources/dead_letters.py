"""Messages that could not be stored: kept encrypted, with the reason, within bounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from django.db.models import Count, F, Sum

from driftline.base.keys.secrets_at_rest import SecretUnreadable, decrypt, encrypt
from driftline.base.strict_json import printable
from inference.prediction_log.sources.models import DeadLetter
from inference.prediction_log.sources.reading.messages import StreamMessage

MAX_LETTERS = 10_000
MAX_BYTES = 256 << 20
MAX_KEPT_BYTES = 1 << 20
"""Of one message, as much as brokers take by default; what is longer is cut."""
KEPT = timedelta(days=30)


class DeadLettersFull(Exception):
    """A source holds as many dead letters as it may: nothing more is read until somebody looks at them."""

    def __init__(self) -> None:
        super().__init__(
            f"The source holds {MAX_LETTERS:,} dead letters or {MAX_BYTES >> 20} MiB of them. "
            "It reads on once they are retried or discarded."
        )


@dataclass(frozen=True)
class RefusedMessage:
    """Why a message could not be stored: a stable code, a sentence, and a JSON pointer."""

    message: StreamMessage
    code: str
    detail: str
    pointer: str = ""


def bury(source_id: int, refusals: Sequence[RefusedMessage]) -> None:
    """Keep messages that could not be stored, in the caller's transaction; of one message the first reason counts.

    Raises DeadLettersFull.
    """
    if not refusals:
        return
    first = {(one.message.partition, one.message.offset): one for one in reversed(refusals)}
    letters = DeadLetter.objects.filter(source_id=source_id)
    held = letters.aggregate(letters=Count("pk"), bytes=Sum("size_bytes", default=0))
    if held["letters"] + len(first) > MAX_LETTERS or held["bytes"] > MAX_BYTES:
        raise DeadLettersFull
    DeadLetter.objects.bulk_create(
        [_letter(source_id, refusal) for refusal in first.values()],
        update_conflicts=True,
        unique_fields=["source", "partition", "offset"],
        update_fields=["code", "detail", "pointer", "payload"],
    )


def _letter(source_id: int, refusal: RefusedMessage) -> DeadLetter:
    message = refusal.message
    size = message.size_bytes
    kept = message if size <= MAX_KEPT_BYTES else _cut(message)
    return DeadLetter(
        source_id=source_id,
        partition=message.partition,
        offset=message.offset,
        **_reason(refusal),
        payload=encrypt(msgspec.json.encode(kept).decode()),
        size_bytes=size,
        is_cut=size > MAX_KEPT_BYTES,
    )


def _reason(refusal: RefusedMessage) -> dict[str, str]:
    """Return the columns that say why."""
    return {
        "code": refusal.code[:60],
        "detail": _storable(refusal.detail)[:500],
        "pointer": _storable(refusal.pointer)[:300],
    }


def _cut(message: StreamMessage) -> StreamMessage:
    """Return the beginning of a message: what is left of the bound after its value, of its key; no header."""
    value = (message.value or b"")[:MAX_KEPT_BYTES]
    key = None if message.key is None else message.key[: MAX_KEPT_BYTES - len(value)]
    return msgspec.structs.replace(message, value=value, key=key, headers={})


def _storable(text: str) -> str:
    return "".join(c if c.isprintable() else printable(c) for c in text)


def message_of(letter: DeadLetter) -> StreamMessage:
    """Return the message of a letter as it came; raises SecretUnreadable."""
    return msgspec.json.decode(decrypt(letter.payload), type=StreamMessage)


def is_readable(letter: DeadLetter) -> bool:
    """Return whether the key is still here under which the message of a letter is encrypted."""
    try:
        message_of(letter)
    except SecretUnreadable:
        return False
    return True


def bury_again(source_id: int, refusals: Sequence[RefusedMessage]) -> None:
    """Note the new reasons of letters that were retried in vain."""
    for refusal in refusals:
        message = refusal.message
        DeadLetter.objects.filter(
            source_id=source_id, partition=message.partition, offset=message.offset
        ).update(**_reason(refusal), attempts=F("attempts") + 1)


def delete_expired(now: datetime) -> int:
    """Delete the letters that nobody looked at for long; returns how many."""
    deleted, _ = DeadLetter.objects.filter(received_at__lt=now - KEPT).delete()
    return deleted
