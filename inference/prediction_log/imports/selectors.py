"""Reads of imports."""

from django.db.models import QuerySet

from driftline.base.errors import not_found
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
