"""Erases a subject from dead letters: they are in no table of rows, so a letter goes as a whole."""

from functools import partial

import orjson

from driftline.base.feature import DataRemoval, ErasureStep
from driftline.base.keys.secrets_at_rest import SecretUnreadable
from inference.prediction_log.erasure.work import Work
from inference.prediction_log.sources.dead_letters import message_of
from inference.prediction_log.sources.models import DeadLetter
from inference.prediction_log.sources.registry.faults import DECODING_CODES, WIRE_MARK


def _erase(work: Work, *, by_ids: bool) -> None:
    place = "letter_of_ids" if by_ids else "letter"
    letters = DeadLetter.objects.filter(source__project=work.project).order_by("pk")
    for letter in letters.filter(pk__gt=work.progress.get(place, 0)).iterator(chunk_size=50):
        work.check_deadline()
        if _names(work, letter, by_ids=by_ids):
            letters.filter(pk=letter.pk).delete()
            work.count(dead_letters=1)
        work.progress[place] = letter.pk


erase_letters = partial(_erase, by_ids=False)
"""Delete the letters of the project that name the key, before its rows: one may be retried meanwhile."""

erase_letters_of_rows = partial(_erase, by_ids=True)
"""Delete those that name a row which was erased, such as its label."""


def _names(work: Work, letter: DeadLetter, *, by_ids: bool) -> bool:
    """Return whether a letter names the key, or a row; one that nobody can open any more goes too."""
    try:
        message = message_of(letter)
    except SecretUnreadable:
        return True
    contents = [part for part in (message.value, message.key) if part]
    if by_ids:
        is_undecoded = letter.code in DECODING_CODES
        return any(
            _names_row(part, id_, is_undecoded=is_undecoded) for id_ in work.subject.ids for part in contents
        )
    key = work.subject.key
    return any(
        orjson.dumps(key) in part or part == key.encode() or work.subject.is_in_bytes(part)
        for part in contents
    )


def _names_row(content: bytes, id_: str, *, is_undecoded: bool) -> bool:
    """Return whether a row is named: as JSON, alone, or anywhere in a message that was not decoded."""
    raw = id_.encode()
    is_undecoded = is_undecoded or content.startswith(WIRE_MARK)
    return orjson.dumps(id_) in content or raw == content or (is_undecoded and raw in content)


DATA_REMOVAL = DataRemoval(
    erasure=[
        ErasureStep("dead letters", after="event halves", erase=erase_letters),
        ErasureStep("dead letters of rows", after="rows", erase=erase_letters_of_rows),
    ],
    vacuumed=[DeadLetter],
)
