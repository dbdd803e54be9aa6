"""Takes the key out of texts: of columns that are text or JSON, and of entries of the audit trail."""

from collections.abc import Iterable, Iterator
from itertools import batched
from typing import Any

import orjson
from django.db import models
from django.db.models import Q
from django.db.models.functions import Cast

from driftline.base.accounts.audit.chain import REDACTABLE
from driftline.base.accounts.models import AuditEntry
from driftline.base.accounts.services import redact_audit
from inference.prediction_log.erasure.work import Work

MAX_REDACTED = 500  # audit entries that one entry says to be redacted


def scrub(work: Work, rows: models.QuerySet[Any], *fields: str) -> None:
    """Replace the key in some columns of these rows, which are text or JSON."""
    for row, changed in _naming_key(work, rows, fields):
        type(row)._base_manager.filter(pk=row.pk).update(**changed)
        work.count(texts=1)


def redact_entries(work: Work, entries: models.QuerySet[AuditEntry]) -> None:
    """Blank what names the key in entries of the audit trail, which nothing else may change."""
    fields = {row.pk: list(changed) for row, changed in _naming_key(work, entries, REDACTABLE)}
    for part in batched(fields.items(), MAX_REDACTED):
        redact_audit(project=work.project, actor="erasure", fields=dict(part))
        work.count(texts=len(part))


def _naming_key[Row: models.Model](
    work: Work, rows: models.QuerySet[Row], fields: Iterable[str]
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Yield the rows that name the key in some of these columns, with the values of those without it."""
    named = Q()
    for field in fields:
        rows = rows.annotate(**{f"_{field}": Cast(field, models.TextField())})
        named |= Q(**{f"_{field}__contains": work.subject.key}) | Q(**{f"_{field}__contains": _escaped(work)})
    for row in rows.filter(named).order_by("pk"):
        scrubbed = {field: work.subject.scrub(getattr(row, field)) for field in fields}
        if changed := {field: value for field, value in scrubbed.items() if value != getattr(row, field)}:
            yield row, changed


def _escaped(work: Work) -> str:
    return str(orjson.dumps(work.subject.key).decode()[1:-1])
