"""Writes of a sink itself: set it, change it, try it, stop it."""

from typing import Any

from django.db import transaction

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem
from driftline.base.extras import KAFKA, require
from driftline.base.keys.secrets_at_rest import MAX_SECRET_BYTES, decrypt, encrypt_sent
from inference.connectors.failure import ConnectorFailed
from monitors.sinks.models import Sink, SinkStream
from monitors.sinks.selectors import find_sink, settings_of
from monitors.sinks.settings import SinkSettings, check_sink
from monitors.sinks.streams.readers import READERS


def set_sink(*, project: Project, settings: SinkSettings, actor: str, secret: str | None = None) -> Sink:
    """Set a project's sink, or change the one that it has; what is stored from now on is sent.

    A secret that is stored stays where None is given, and is never sent to other brokers or for another user. Raises
    Problem (422).
    """
    check_sink(settings)
    require(KAFKA)
    sealed = encrypt_sent(secret or "", max_length=MAX_SECRET_BYTES)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        sink = _lock_sink(project)
        before = None if sink is None else describe_sink(sink)
        if sink is None:
            sink = Sink(project=project)
        elif settings.address() != settings_of(sink).address():
            sink.secret = b""
        sink.settings = settings.model_dump(mode="json")
        if secret is not None:
            sink.secret = sealed
        sink.error, sink.failing_since = "", None
        sink.generation += 1
        sink.save()
        _choose_streams(sink, settings)
        after = describe_sink(sink) | ({"secret": "changed"} if secret is not None else {})
        record_audit(
            project=project,
            actor=actor,
            action="sink.set",
            subject=_subject(settings),
            before=before,
            after=after,
        )
    return sink


def _lock_sink(project: Project) -> Sink | None:
    """Return the sink of a project under a lock: a lease or a secret that is encrypted anew is not written over."""
    found = Sink.objects.select_for_update(of=("self",), no_key=True).select_related("project")
    return found.filter(project=project).first()


def _choose_streams(sink: Sink, settings: SinkSettings) -> None:
    """Begin the streams that are new, and forget what was still to be sent of those that are not sent any more."""
    for stream in SinkStream.objects.filter(sink=sink).exclude(kind__in=settings.streams):
        READERS[stream.kind].end(sink.project)
        stream.delete()
    for kind in settings.streams:
        stream, is_new = SinkStream.objects.get_or_create(sink=sink, kind=kind)
        if is_new:
            READERS[kind].end(sink.project)  # of a writer that overlapped with the end of the stream before
            READERS[kind].begin(stream)


def check_connection(*, project: Project, settings: SinkSettings, secret: str | None = None) -> list[str]:
    """Connect to the brokers without sending anything, and list the topics that they do not have.

    Without a secret that of the sink is used, where brokers and user are its own. Raises Problem: 422 for what could
    never work, 502 where the brokers cannot be reached.
    """
    check_sink(settings)
    require(KAFKA)
    from monitors.sinks.producer import SinkProducer  # Kafka's library is loaded where it is used

    sink = find_sink(project=project)
    if secret is None:
        is_own = sink is not None and settings_of(sink).address() == settings.address()
        secret = decrypt(sink.secret) if sink is not None and sink.secret and is_own else ""
    try:
        with SinkProducer(settings, secret) as producer:
            return producer.missing_topics()
    except ConnectorFailed as error:
        raise Problem(502, "sink_unreachable", str(error)) from error


def stop_sink(*, sink: Sink, confirm: str, actor: str) -> None:
    """Forget a sink with its secret and with what was still to be sent; what was sent stays where it is.

    `confirm` is the slug of the project; raises Problem (409) where it is not.
    """
    if confirm != sink.project.slug:
        detail = f"What was not sent yet will not be. Confirm it by the project: confirm={sink.project.slug}"
        raise Problem(409, "confirmation_needed", detail)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=sink.project_id)
        record_audit(
            project=sink.project,
            actor=actor,
            action="sink.stop",
            subject=_subject(settings_of(sink)),
            before=describe_sink(sink),
        )
        for stream in SinkStream.objects.filter(sink=sink):
            READERS[stream.kind].end(sink.project)
        sink.delete()


def describe_sink(sink: Sink) -> dict[str, Any]:
    """Return what the audit trail and a configuration keep of a sink: everything but its secret."""
    return settings_of(sink).model_dump(mode="json")


def _subject(settings: SinkSettings) -> str:
    return f"{settings.brokers[0]} {settings.prefix}"[:200]
