"""What people do with dead letters: store them by the current mapping, or discard them."""

import logging
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from driftline.base.accounts.services import record_audit
from driftline.base.keys.secrets_at_rest import SecretUnreadable
from inference.prediction_log.sources.dead_letters import RefusedMessage, bury_again, is_readable, message_of
from inference.prediction_log.sources.models import DeadLetter, Source, SourceObject
from inference.prediction_log.sources.reading.messages import BROKEN_OBJECT, StreamMessage
from inference.prediction_log.sources.reading.storing import is_lasting, store_letters, unforeseen

log = logging.getLogger(__name__)

RETRIED_AT_ONCE = 500
RETRIED_BYTES = 16 << 20  # of messages that are decrypted and stored at once


@dataclass(frozen=True)
class Retried:
    """How many letters were retried: stored in the log, refused again, or of objects that the next pass reads again."""

    stored: int
    refused: int
    reread: int = 0


def retry(*, source: Source, letters: QuerySet[DeadLetter], actor: str, now: datetime) -> Retried:
    """Store letters by the current mapping; those that are refused again stay, with the new reason.

    Raises Problem where the model takes nothing now; letters that were stored before that are stored.
    """
    last = stored = 0
    reread = _read_again(source, letters)
    refused = letters.filter(is_cut=True).count()
    while batch := _next_letters(letters.filter(pk__gt=last, is_cut=False)):
        last = batch[-1]
        done, failed = _retry_some(source, batch, now)
        stored, refused = stored + done, refused + failed
    _record(source, actor, "source.retry", {"stored": stored, "refused": refused, "reread": reread})
    return Retried(stored, refused, reread)


@transaction.atomic
def _read_again(source: Source, letters: QuerySet[DeadLetter]) -> int:
    """Make the next pass read broken objects from their beginning, instead of their letters; returns how many."""
    found = letters.select_for_update(skip_locked=True, of=("self",)).filter(code=BROKEN_OBJECT)
    broken = [letter for letter in found if is_readable(letter)]
    paths = [(message_of(letter).value or b"").decode() for letter in broken]
    SourceObject.objects.filter(source=source, path__in=paths).update(finished_at=None, is_whole=False)
    DeadLetter.objects.filter(pk__in=[letter.pk for letter in broken]).delete()
    return len(broken)


def _next_letters(letters: QuerySet[DeadLetter]) -> list[int]:
    """Return the ids of the first letters, as many as are retried at once; at least one where there are any."""
    ids, size = list[int](), 0
    for pk, size_bytes in letters.order_by("pk").values_list("pk", "size_bytes")[:RETRIED_AT_ONCE]:
        size += size_bytes
        if ids and size > RETRIED_BYTES:
            break
        ids.append(pk)
    return ids


def _retry_some(source: Source, ids: list[int], now: datetime) -> tuple[int, int]:
    """Store letters; where one of them fails in a way that nobody foresaw, the halves, down to that one."""
    try:
        return _retry_together(source, ids, now)
    except Exception as error:  # no letter may hold the others back
        if is_lasting(error):
            raise
        if len(ids) > 1:
            half = len(ids) // 2
            first, second = (_retry_some(source, part, now) for part in (ids[:half], ids[half:]))
            return first[0] + second[0], first[1] + second[1]
        letter = DeadLetter.objects.filter(pk=ids[0]).first()
        if letter is None:
            return 0, 0
        message = StreamMessage(partition=letter.partition, offset=letter.offset, value=None)
        bury_again(source.pk, [_refusal_of(source, message, error)])
        return 0, 1


def _refusal_of(source: Source, message: StreamMessage, error: Exception) -> RefusedMessage:
    """Return why a letter alone could not be stored."""
    if isinstance(error, SecretUnreadable):
        return RefusedMessage(message, "secret_unreadable", str(error))
    log.exception(
        "a dead letter of a source could not be retried", exc_info=error, extra={"source": source.name}
    )
    return unforeseen(message, error)


@transaction.atomic
def _retry_together(source: Source, ids: list[int], now: datetime) -> tuple[int, int]:
    locked = list(DeadLetter.objects.select_for_update(skip_locked=True).filter(pk__in=ids).order_by("pk"))
    refusals = store_letters(source, [message_of(letter) for letter in locked], now=now)
    failed = {(one.message.partition, one.message.offset) for one in refusals}
    done = [letter.pk for letter in locked if (letter.partition, letter.offset) not in failed]
    DeadLetter.objects.filter(pk__in=done).delete()
    bury_again(source.pk, refusals)
    return len(done), len(failed)


def discard(*, source: Source, letters: QuerySet[DeadLetter], actor: str) -> int:
    """Delete letters for good; returns how many."""
    with transaction.atomic():
        deleted, _ = letters.delete()
        _record(source, actor, "source.discard", {"discarded": deleted})
    return deleted


def _record(source: Source, actor: str, action: str, after: dict[str, int]) -> None:
    record_audit(project=source.project, actor=actor, action=action, subject=source.name, after=after)
