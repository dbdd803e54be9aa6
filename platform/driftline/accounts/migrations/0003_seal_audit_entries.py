"""Gives the audit entries that are there their project's name and their place in the hash chain."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import F, OuterRef, Subquery, TextField
from django.db.models.functions import Cast

from driftline.accounts.audit_chain import FIRST_HASH, digest_of_content, hash_of_link

_CONTENT = (
    "pk", "at", "project_id", "project_slug", "actor", "action", "subject", "before_text", "after_text",
    "address", "token_id", "token_name", "correlation",
)  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BATCH = 1_000


def name_projects(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    entries, projects = apps.get_model("accounts", "AuditEntry"), apps.get_model("accounts", "Project")
    slug = projects.objects.filter(pk=OuterRef("project_id")).values("slug")
    entries.objects.filter(project_id__in=projects.objects.values("pk")).update(project_slug=Subquery(slug))


def seal(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    entries = apps.get_model("accounts", "AuditEntry")
    number, link = 0, FIRST_HASH
    while rows := _unsealed(entries):
        for row in rows:
            number += 1
            content = [
                (row[name] - _EPOCH) // timedelta(microseconds=1) if name == "at" else row[name]
                for name in _CONTENT
            ]
            digest = digest_of_content(row["salt"], content)
            link = hash_of_link(link, number, digest)
            entries.objects.filter(pk=row["pk"]).update(number=number, digest=digest, hash=link)


def _unsealed(entries: Any) -> list[dict[str, Any]]:
    waiting = entries.objects.filter(number=None).order_by("pk")
    texts = {"before_text": Cast(F("before"), TextField()), "after_text": Cast(F("after"), TextField())}
    return list(waiting.annotate(**texts).values("salt", *_CONTENT)[:_BATCH])


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_audit_origin_and_chain")]

    operations = [
        migrations.RunPython(name_projects, migrations.RunPython.noop),
        migrations.RunPython(seal, migrations.RunPython.noop),
    ]
