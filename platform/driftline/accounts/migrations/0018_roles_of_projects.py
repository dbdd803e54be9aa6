from typing import Any

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models
from django.db.models import Q

_BUILT_IN = ("viewer", "editor", "admin")


def make_unknown_roles_viewers(apps: Any, schema_editor: Any) -> None:
    """Set roles that an older release does not know to viewer, which also fit its narrower columns."""
    schema_editor.execute(
        "SET CONSTRAINTS ALL IMMEDIATE"
    )  # a check that waits would forbid to alter the table
    unknown = {name: ~Q(**{f"{name}__in": [*_BUILT_IN, ""]}) for name in ("role", "role_by_hand")}
    memberships = apps.get_model("accounts", "Membership").objects
    for name, condition in unknown.items():
        memberships.filter(condition).update(**{name: "viewer"})
    apps.get_model("accounts", "Invitation").objects.filter(unknown["role"]).update(role="viewer")


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0017_allowed_networks_and_rotation"),
    ]

    operations = [
        migrations.AlterField(
            model_name="invitation",
            name="role",
            field=models.CharField(max_length=40),
        ),
        migrations.AlterField(
            model_name="membership",
            name="role",
            field=models.CharField(
                default="viewer",
                help_text="viewer, editor, admin, or the name of a role of the project",
                max_length=40,
            ),
        ),
        migrations.AlterField(
            model_name="membership",
            name="role_by_hand",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="what a person gave, while a provider gives more",
                max_length=40,
            ),
        ),
        migrations.CreateModel(
            name="CustomRole",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=40)),
                ("scopes", models.JSONField(default=list)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="custom_roles",
                        to="accounts.project",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("project", "name"), name="role_name_once_a_project")
                ],
            },
        ),
        migrations.RunPython(migrations.RunPython.noop, make_unknown_roles_viewers),
    ]
