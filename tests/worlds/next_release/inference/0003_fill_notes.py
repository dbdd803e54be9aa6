from typing import Any

from django.db import migrations


def copy_names(apps: Any, schema_editor: Any) -> None:
    for model in apps.get_model("inference", "Model").objects.all():
        model.note = f"about {model.name}"
        model.save(update_fields=["note"])


class Migration(migrations.Migration):
    dependencies = [("inference", "0002_notes")]

    operations = [migrations.RunPython(copy_names)]
