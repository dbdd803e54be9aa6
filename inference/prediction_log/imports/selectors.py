"""Reads of imports."""

from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from driftline.common.errors import not_found
from driftline.common.periods import rfc3339
from inference.prediction_log.imports.models import Import
from inference.registry.models import Model


def imports_of(model: Model) -> QuerySet[Import]:
    """List a model's imports."""
    return Import.objects.filter(model=model).select_related("model")


def get_import(*, model: Model, import_id: int) -> Import:
    """Find an import of this model."""
    job = imports_of(model).filter(pk=import_id).first()
    if job is None:
        raise not_found("import")
    return job


def describe_import(job: Import) -> dict[str, Any]:
    """Write an import as the API gives it."""
    return {
        "id": job.pk,
        "kind": job.kind,
        "state": job.state,
        "error": job.error or None,
        "file": job.file_name,
        "format": job.format,
        "size": job.size,
        "sha256": job.sha256,
        "version": job.version or None,
        "progress": round(job.share, 4),
        "rows": job.rows,
        "accepted": job.accepted,
        "duplicates": job.duplicates,
        "rejected": job.rejected,
        "labels": job.labels,
        "bad_rows_kept": job.bad_rows,
        "features": sorted(job.layout.get("features", {})),
        "ignored_columns": job.layout.get("ignored", []),
        "created_by": job.created_by,
        "created_at": rfc3339(job.created_at),
        "started_at": _moment(job.started_at),
        "finished_at": _moment(job.finished_at),
    }


def _moment(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None
