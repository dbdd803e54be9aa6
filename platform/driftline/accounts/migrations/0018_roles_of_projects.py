import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


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
    ]
