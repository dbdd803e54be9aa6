"""Writes of sources: make, change, pause, resume and delete."""

import secrets
from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, transaction

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.errors import Problem, invalid
from driftline.base.keys.secrets_at_rest import MAX_SECRET_BYTES, encrypt_sent
from driftline.base.strict_json import printable
from inference.prediction_log.rows.sent_items import Refused, check_version
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.kinds import (
    SourceSettings,
    check_settings,
    has_same_registry,
    require_extra,
)
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.mqtt.settings import MqttSettings
from inference.prediction_log.sources.objects.settings import ObjectsSettings
from inference.prediction_log.sources.reading.adapters import mapping_of, settings_of
from inference.prediction_log.sources.reading.envelopes import HALVES
from inference.registry.models import Model

MAX_SOURCES = 10
"""Of a project, as each takes a thread and a connection to the database from all projects."""


def create_source(
    *,
    project: Project,
    model: Model,
    actor: str,
    name: str,
    what: str,
    settings: SourceSettings,
    mapping: SourceMapping | None = None,
    secret: str = "",
    registry_secret: str = "",
    enabled: bool = True,
) -> Source:
    """Make a source; consumers begin within seconds where it is enabled.

    Raises Problem: 422 for what could never work, 409 where the name is taken or the project has `MAX_SOURCES`.
    """
    mapping = mapping or SourceMapping()
    if what not in Source.What.values:
        raise invalid("/what", f"{printable(what)!r} is neither predictions nor labels.")
    if isinstance(settings, KafkaSettings):
        settings = _with_group(settings, "")
    source = Source(
        project=project,
        name=_checked_name(name),
        kind=settings.kind,
        model=model,
        what=what,
        settings=settings.model_dump(),
        secret=_sealed(secret),
        registry_secret=_sealed(registry_secret, "/registry_secret"),
        mapping=mapping.model_dump(),
        enabled=enabled,
    )
    _check(settings, mapping, what)
    require_extra(settings)
    _check_registry_secret(settings, registry_secret)
    if isinstance(settings, KafkaSettings):
        _check_group(settings, source)
    with transaction.atomic():
        _check_count(project)
        _save(source, actor=actor, action="source.create", before=None)
    return source


def update_source(
    *,
    source: Source,
    actor: str,
    name: str | None = None,
    settings: SourceSettings | None = None,
    mapping: SourceMapping | None = None,
    secret: str | None = None,
    registry_secret: str | None = None,
    enabled: bool | None = None,
) -> Source:
    """Change what is given; its consumers begin anew within seconds.

    A secret that is stored stays, and is never sent to other servers or for another user. Raises Problem (422).
    """
    before = describe(source)
    _check(settings or settings_of(source), mapping or mapping_of(source), source.what)
    if name is not None:
        source.name = _checked_name(name)
    if settings is not None:
        _change_settings(source, settings)
    if secret is not None:
        source.secret = _sealed(secret)
    if registry_secret is not None:
        _check_registry_secret(settings_of(source), registry_secret)
        source.registry_secret = _sealed(registry_secret, "/registry_secret")
    if mapping is not None:
        source.mapping = mapping.model_dump()
    if enabled is not None:
        _enable(source, enabled)
    source.generation += 1
    given = {"secret": secret, "registry_secret": registry_secret}
    new_secrets = [field for field, value in given.items() if value is not None]
    _save(source, actor=actor, action="source.update", before=before, new_secrets=new_secrets)
    return source


def _change_settings(source: Source, settings: SourceSettings) -> None:
    require_extra(settings)
    before = settings_of(source)
    if settings.kind != source.kind:
        detail = f"The kind of a source stays, and this one is of {source.kind}; make another source."
        raise invalid("/settings/kind", detail)
    if isinstance(settings, ObjectsSettings) and isinstance(before, ObjectsSettings):
        _check_store(settings, before)
    if isinstance(settings, KafkaSettings) and isinstance(before, KafkaSettings):
        settings = _with_group(settings, before.group)
        _check_group(settings, source)
    if settings.address() != before.address():
        source.secret = b""
    if not has_same_registry(settings, before):
        source.registry_secret = b""
    source.settings = settings.model_dump()


def _check_store(settings: ObjectsSettings, before: ObjectsSettings) -> None:
    """Raise Problem (422) where another bucket or folder is named: what was read is known by the names of objects."""
    if (settings.bucket, settings.folder) != (before.bucket, before.folder):
        pointer = "/settings/bucket" if settings.bucket else "/settings/folder"
        raise invalid(pointer, "The bucket or folder of a source stays; make another source for another one.")


def set_enabled(*, source: Source, actor: str, enabled: bool) -> Source:
    """Pause a source, or resume it where it was paused: nothing is lost between the two."""
    if source.enabled == enabled:
        return source
    before = describe(source)
    _enable(source, enabled)
    source.generation += 1
    _save(source, actor=actor, action="source.resume" if enabled else "source.pause", before=before)
    return source


def _enable(source: Source, enabled: bool) -> None:
    """Set whether it is read; of the time that it was paused nobody had to read it."""
    if enabled and not source.enabled:
        source.read_at = now()
    source.enabled = enabled


def delete_source(*, source: Source, confirm: str, actor: str) -> None:
    """Delete a source with its secret, its positions and its dead letters; the rows that it brought stay.

    `confirm` is its name; raises Problem (409) where it is not.
    """
    check_confirmed(source, confirm, "Deleting it takes along its secret, its positions and its dead letters")
    with transaction.atomic():
        record_audit(
            project=source.project,
            actor=actor,
            action="source.delete",
            subject=source.name,
            before=describe(source),
        )
        source.delete()


def check_confirmed(source: Source, confirm: str, effect: str) -> None:
    """Raise Problem (409) unless the name of the source was given, which says that somebody means it."""
    if confirm != source.name:
        raise Problem(409, "confirmation_needed", f"{effect}. Confirm it by the name: confirm={source.name}")


def describe(source: Source) -> dict[str, Any]:
    """Return what the audit trail keeps of a source: everything but its secret."""
    return {
        "name": source.name,
        "model": source.model.name,
        "what": source.what,
        "settings": source.settings,
        "mapping": source.mapping,
        "enabled": source.enabled,
    }


def _save(source: Source, *, actor: str, action: str, before: Any, new_secrets: Sequence[str] = ()) -> None:
    after = describe(source) | dict.fromkeys(new_secrets, "changed")
    try:
        with transaction.atomic():
            source.save()
            record_audit(
                project=source.project,
                actor=actor,
                action=action,
                subject=source.name,
                before=before,
                after=after,
            )
    except IntegrityError as error:
        raise Problem(409, "name_taken", f"This project has a source {source.name} already.") from error


def _check_count(project: Project) -> None:
    """Raise Problem (409) where the project has all the sources that it may; of two requests one waits."""
    Project.objects.select_for_update().get(pk=project.pk)
    if Source.objects.filter(project=project).count() >= MAX_SOURCES:
        detail = (
            f"This project has {MAX_SOURCES} sources, as many as it may. Delete one, or read several topics by one "
            "source."
        )
        raise Problem(409, "too_many_sources", detail)


def _with_group(settings: KafkaSettings, before: str) -> KafkaSettings:
    """Return settings with a consumer group: as given, as before, or a random one that nobody else has."""
    return settings.model_copy(
        update={"group": settings.group or before or f"driftline-{secrets.token_hex(8)}"}
    )


def _check_group(settings: KafkaSettings, source: Source) -> None:
    """Raise Problem (422) where another source would share the partitions: each would get only some of them."""
    for other in Source.objects.filter(settings__group=settings.group).exclude(pk=source.pk):
        theirs = settings_of(other)
        if not isinstance(theirs, KafkaSettings):
            continue
        if set(theirs.brokers) & set(settings.brokers) and set(theirs.topics) & set(settings.topics):
            detail = f"Another source reads such a topic as group {settings.group}; name another, or none."
            raise invalid("/settings/group", detail, "group_taken")


# -- what could never work ---------------------------------------------------------------------------------------------
def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > 100 or not name.isprintable() or "/" in name:
        detail = f"{printable(name)!r} is no name; use 1 to 100 printable characters without '/'."
        raise invalid("/name", detail)
    return name


def _check(settings: SourceSettings, mapping: SourceMapping, what: str) -> None:
    check_settings(settings)
    if isinstance(settings, ObjectsSettings) and settings.format == "csv" and mapping.envelope != "json":
        raise invalid("/mapping/envelope", "The rows of CSV are flat, so they are read as json, by paths.")
    if isinstance(settings, MqttSettings) and mapping.id == "$position":
        detail = "A message of MQTT that comes again has another position; name a path, or nothing."
        raise invalid("/mapping/id", detail)
    if what == Source.What.LABELS and mapping.envelope in HALVES:
        detail = f"{mapping.envelope} holds predictions; labels come as json or log."
        raise invalid("/mapping/envelope", detail)
    if mapping.default_version:
        try:
            check_version(mapping.default_version)
        except Refused as refused:
            raise invalid("/mapping/default_version", refused.detail, refused.code) from refused


def _check_registry_secret(settings: SourceSettings, secret: str) -> None:
    if secret and not (isinstance(settings, KafkaSettings) and settings.registry_url):
        raise invalid("/registry_secret", "A secret of a schema registry needs registry_url in the settings.")


def _sealed(secret: str, pointer: str = "/secret") -> bytes:
    return encrypt_sent(secret, max_length=MAX_SECRET_BYTES, pointer=pointer)
