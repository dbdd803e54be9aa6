"""Writes of annotations, each with an audit row."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction

from driftline.base.errors import Problem, invalid, not_found
from driftline.base.periods import rfc3339
from inference.registry.models import Model
from inference.registry.parts import audit_part, lock_model
from monitors.annotations.models import LINK_LENGTH, TEXT_LENGTH, Annotation

MAX_ANNOTATIONS = 5_000
FIELDS = ("start", "end", "text", "link")


def create_annotation(
    *, model: Model, start: datetime, end: datetime | None = None, text: str, link: str = "", actor: str
) -> Annotation:
    """Note something on a model's axis of event time. Raises Problem."""
    annotation = Annotation(model=model, created_by=actor)
    _set(annotation, {"start": start, "end": end, "text": text, "link": link})
    with transaction.atomic():
        lock_model(model)
        if model.annotations.count() >= MAX_ANNOTATIONS:
            raise Problem(
                409,
                "too_many_annotations",
                f"A model has up to {MAX_ANNOTATIONS:,} annotations; delete some first.",
            )
        annotation.save()
        annotation.refresh_from_db()
        audit_part(annotation, "annotation.create", actor, after=_fields_of(annotation))
    return annotation


def change_annotation(*, annotation: Annotation, changes: Mapping[str, Any], actor: str) -> None:
    """Change some of start, end, text and link; who made it stays. Raises Problem, 404 once it was deleted."""
    with transaction.atomic():
        try:
            annotation.refresh_from_db(from_queryset=Annotation.objects.select_for_update())
        except Annotation.DoesNotExist:
            raise not_found("annotation") from None
        before = _fields_of(annotation)
        _set(annotation, changes)
        after = _fields_of(annotation)
        if before != after:
            annotation.save(update_fields=FIELDS)
            audit_part(annotation, "annotation.update", actor, before=before, after=after)


def delete_annotation(*, annotation: Annotation, actor: str) -> None:
    """Take an annotation off the charts."""
    with transaction.atomic():
        audit_part(annotation, "annotation.delete", actor, before=_fields_of(annotation))
        annotation.delete()


def _set(annotation: Annotation, changes: Mapping[str, Any]) -> None:
    for name in FIELDS:
        if name in changes:
            value = changes[name]
            setattr(annotation, name, value.strip() if isinstance(value, str) else value)
    if not 0 < len(annotation.text) <= TEXT_LENGTH:
        raise invalid("/text", f"An annotation's text has 1 to {TEXT_LENGTH} characters.", "invalid_text")
    if annotation.end is not None and annotation.end <= annotation.start:
        raise invalid("/end", "An interval ends after its start; leave the end out for a moment.")
    _check_link(annotation.link)


def _check_link(link: str) -> None:
    if not link:
        return
    try:
        parts = urlsplit(link)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_web = False
    if not is_web or len(link) > LINK_LENGTH or not link.isprintable() or " " in link:
        raise invalid(
            "/link",
            f"A link begins with http:// or https://, names a host and has up to {LINK_LENGTH} characters.",
        )


def _fields_of(annotation: Annotation) -> dict[str, str | None]:
    return {
        "start": rfc3339(annotation.start),
        "end": rfc3339(annotation.end) if annotation.end else None,
        "text": annotation.text,
        "link": annotation.link,
    }
