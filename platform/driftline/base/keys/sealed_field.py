"""The column of a secret that must be read back."""

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.db import models


class SealedField(models.BinaryField):  # type: ignore[type-arg]  # it takes none at run time
    """What `encrypt` returns, under the secret key: a rotation of that key seals it anew. For the database, bytes."""

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, _, args, options = super().deconstruct()
        return name, "django.db.models.BinaryField", args, options


def sealed_columns() -> dict[type[models.Model], list[str]]:
    """Return the columns that are sealed under the secret key, by their tables, also those of no present feature."""
    columns = {
        model: [field.name for field in model._meta.local_fields if isinstance(field, SealedField)]
        for model in apps.get_models()
    }
    return {model: names for model, names in columns.items() if names}
