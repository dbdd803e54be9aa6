from collections.abc import Callable
from typing import Any

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from driftline.common.secrets_at_rest import decrypt, encrypt, is_sealed


def seal(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Seal the secrets that were stored before they were sealed."""
    _rewrite(apps, lambda text: text if is_sealed(text) else encrypt(text).decode())


def unseal(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    _rewrite(apps, lambda text: decrypt(text.encode()) if is_sealed(text) else text)


def _rewrite(apps: Apps, change: Callable[[str], str]) -> None:
    for row in apps.get_model("mfa", "Authenticator").objects.filter(type__in=["totp", "recovery_codes"]):
        row.data = {name: _changed(name, value, change) for name, value in row.data.items()}
        row.save(update_fields=["data"])


def _changed(name: str, value: Any, change: Callable[[str], str]) -> Any:
    if name in ("secret", "seed"):
        return change(value)
    return [change(code) for code in value] if name == "migrated_codes" else value


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_keep_a_shared_cache"),
        ("mfa", "0003_authenticator_type_uniq"),
    ]

    operations = [migrations.RunPython(seal, unseal)]
