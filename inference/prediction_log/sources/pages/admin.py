"""The rows of sources in the admin, and what may be done to them."""

from django.db.models import Count

from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.web.admin.home import HealthLine, extend_home, list_link
from driftline.web.admin.reading import AdminAct, register
from inference.prediction_log.sources.models import (
    DeadLetter,
    Source,
    SourceConsumer,
    SourceObject,
    SourcePosition,
    SourceReader,
)
from inference.prediction_log.sources.retrying import retry
from inference.prediction_log.sources.services import set_enabled


def _retry_letter(letter: DeadLetter, actor: str) -> None:
    letters = DeadLetter.objects.filter(pk=letter.pk)
    retried = retry(source=letter.source, letters=letters, actor=actor, now=now())
    if retried.refused:
        reason = DeadLetter.objects.filter(pk=letter.pk).values_list("code", flat=True).first() or letter.code
        raise Problem(
            409, "refused_again", f"It was refused again ({reason}); change the mapping of its source first."
        )


RETRY_LETTER = AdminAct(
    "retry",
    "Retry",
    "It is read by the mapping that its source has now.",
    "is stored",
    _retry_letter,
    lambda letter: letter.source.project,
)
PAUSE_SOURCE = AdminAct(
    "pause",
    "Pause",
    "Nothing is read from it until it is resumed; it goes on where it stopped.",
    "is paused",
    lambda source, actor: set_enabled(source=source, actor=actor, enabled=False),
)
RESUME_SOURCE = AdminAct(
    "resume",
    "Resume",
    "It is read on from where it stopped.",
    "is resumed",
    lambda source, actor: set_enabled(source=source, actor=actor, enabled=True),
    lambda source: source.project,
)


def _dead_letters() -> HealthLine:
    letters = DeadLetter.objects.count()
    text = f"{letters:,} wait for somebody"
    return HealthLine("Dead letters", text, letters > 0, list_link("inference_deadletter"))


def _consumers() -> HealthLine:
    states = dict(SourceConsumer.objects.values_list("state").annotate(n=Count("pk")))
    waiting = sum(number for state, number in states.items() if state != "running")
    text = f"{states.get('running', 0):,} read a source, {waiting:,} wait"
    return HealthLine("Sources", text, waiting > 0, list_link("inference_sourceconsumer"))


extend_home([_dead_letters, _consumers], [("Retry a dead letter", "inference_deadletter")])

register(
    Source,
    ("name", "kind", "project", "model", "what", "enabled", "created_at"),
    ("kind", "what", "project"),
    ("=name",),
    secret=("secret",),
    acts=(PAUSE_SOURCE, RESUME_SOURCE),
)
register(SourcePosition, ("source", "partition", "next_offset", "end_offset", "stored_at"), ("source",))
register(SourceObject, ("source", "path", "etag", "finished_at", "is_whole"), ("is_whole", "source"))
register(SourceReader, ("source", "until"), ())
register(SourceConsumer, ("source", "host", "state", "seen_at", "error"), ("state", "source"))
register(
    DeadLetter,
    ("source", "partition", "offset", "code", "size_bytes", "received_at"),
    ("code", "source"),
    ("source__name", "detail"),
    secret=("payload",),
    acts=(RETRY_LETTER,),
)
