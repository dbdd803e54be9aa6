import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0011_name_of_api_tokens"),
        ("inference", "0027_unpublished_changes"),
        ("monitors", "0059_pulls"),
    ]

    operations = [
        migrations.CreateModel(
            name="RegistryImport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("lease_until", models.DateTimeField(blank=True, null=True)),
                ("lease_token", models.BigIntegerField(blank=True, null=True)),
                ("generation", models.BigIntegerField(default=1)),
                ("touched_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "attempts",
                    models.IntegerField(
                        db_default=0, default=0, help_text="times that a worker began since the last progress"
                    ),
                ),
                (
                    "error",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="why the last attempt failed",
                        max_length=500,
                    ),
                ),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "failures",
                    models.IntegerField(
                        db_default=0, default=0, help_text="times in a row that the other server was away"
                    ),
                ),
                ("url", models.CharField(help_text="of the tracking server", max_length=500)),
                (
                    "secret",
                    models.BinaryField(
                        blank=True, default=b"", help_text="encrypted; empty where none is set"
                    ),
                ),
                (
                    "search",
                    models.CharField(
                        blank=True, help_text="only names that hold this are listed", max_length=100
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "its models are being listed"),
                            ("listed", "Listed"),
                            ("failed", "Failed"),
                        ],
                        default="waiting",
                        max_length=10,
                    ),
                ),
                (
                    "which",
                    models.CharField(
                        choices=[
                            (
                                "aliases",
                                "those with the alias champion, production or challenger, else the newest",
                            ),
                            ("all", "all that are ready, up to the newest 50"),
                        ],
                        default="aliases",
                        max_length=10,
                    ),
                ),
                (
                    "follows",
                    models.BooleanField(
                        default=False, help_text="connect each model to its registered model"
                    ),
                ),
                (
                    "task",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("binary", "Binary"),
                            ("multiclass", "Multiclass"),
                            ("regression", "Regression"),
                            ("ranking", "Ranking"),
                        ],
                        help_text="of new models where the file does not tell it",
                        max_length=20,
                    ),
                ),
                ("created_by", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="registry_imports",
                        to="accounts.project",
                    ),
                ),
            ],
            options={
                "verbose_name": "registry import",
            },
        ),
        migrations.CreateModel(
            name="ImportedModel",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("lease_until", models.DateTimeField(blank=True, null=True)),
                ("lease_token", models.BigIntegerField(blank=True, null=True)),
                ("generation", models.BigIntegerField(default=1)),
                ("touched_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "attempts",
                    models.IntegerField(
                        db_default=0, default=0, help_text="times that a worker began since the last progress"
                    ),
                ),
                (
                    "error",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="why the last attempt failed",
                        max_length=500,
                    ),
                ),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "failures",
                    models.IntegerField(
                        db_default=0, default=0, help_text="times in a row that the other server was away"
                    ),
                ),
                ("registered_model", models.CharField(max_length=250)),
                (
                    "name",
                    models.CharField(
                        blank=True, help_text="of the model here; empty: none fits", max_length=100
                    ),
                ),
                (
                    "naming_fault",
                    models.CharField(
                        blank=True, help_text="why it has no name, or another one", max_length=500
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("listed", "it was not chosen"),
                            ("waiting", "Waiting"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                        ],
                        default="listed",
                        max_length=10,
                    ),
                ),
                (
                    "note",
                    models.CharField(blank=True, help_text="what else there is to know", max_length=500),
                ),
                (
                    "model",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="registry_imports",
                        to="inference.model",
                    ),
                ),
                (
                    "registry_import",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="registered_models",
                        to="monitors.registryimport",
                    ),
                ),
            ],
            options={
                "verbose_name": "registered model",
            },
        ),
        migrations.CreateModel(
            name="ImportedVersion",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("position", models.IntegerField()),
                ("number", models.CharField(help_text="of MLflow", max_length=20)),
                (
                    "aliases",
                    models.CharField(blank=True, help_text="in MLflow, separated by commas", max_length=200),
                ),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("imported", "Imported"),
                            ("known", "the model has it already"),
                            ("refused", "Refused"),
                        ],
                        default="waiting",
                        max_length=10,
                    ),
                ),
                ("reason", models.CharField(blank=True, help_text="why it was refused", max_length=500)),
                (
                    "imported",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="versions",
                        to="monitors.importedmodel",
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="imported_versions",
                        to="inference.version",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("imported", "number"), name="imported_version_once")
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="importedmodel",
            constraint=models.UniqueConstraint(
                fields=("registry_import", "registered_model"), name="registered_model_listed_once"
            ),
        ),
    ]
