from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def run_first_in_the_serving_process(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    """Let the first project of an installation run as it did before; the others are isolated now."""
    projects = apps.get_model("accounts", "Project").objects
    first = projects.order_by("pk").first()
    if first is not None:
        projects.filter(pk=first.pk).update(isolation="none")


class Migration(migrations.Migration):
    dependencies = [("accounts", "0008_project_isolation")]

    operations = [migrations.RunPython(run_first_in_the_serving_process, migrations.RunPython.noop)]
