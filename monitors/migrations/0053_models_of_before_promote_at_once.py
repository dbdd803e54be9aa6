from importlib import import_module
from typing import Any

from django.db import migrations

AT_ONCE = import_module("monitors.migrations.0052_rollouts").AT_ONCE


def keep_at_once(apps: Any, schema_editor: Any) -> None:
    """Give the models that had no workflow one that promotes at once, as they did; new ones take the staged plan."""
    model, workflow = apps.get_model("inference", "Model"), apps.get_model("monitors", "Workflow")
    without = model.objects.exclude(pk__in=workflow.objects.values("model"))
    workflow.objects.bulk_create(
        [workflow(model=one, rollout=AT_ONCE) for one in without.iterator()], batch_size=500
    )


class Migration(migrations.Migration):
    dependencies = [
        ("monitors", "0052_rollouts"),
        ("inference", "0026_archived_versions_and_datasets"),
    ]

    operations = [migrations.RunPython(keep_at_once, migrations.RunPython.noop)]
