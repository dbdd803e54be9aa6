"""Adds how the file of an import is read and which rows it brought, and the files that wait to be confirmed."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0021_words_of_help_texts"),
    ]

    operations = [
        migrations.AddField(
            model_name="import",
            name="reading",
            field=models.JSONField(
                blank=True,
                help_text="its format and the roles of its columns; empty where names say all",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="import",
            name="removed_bytes",
            field=models.BigIntegerField(
                blank=True, help_text="how far that list is done, if its rows are removed again", null=True
            ),
        ),
        migrations.AddField(
            model_name="import",
            name="row_bytes",
            field=models.BigIntegerField(
                default=0, help_text="length of the list of rows that it brought, by which it can be undone"
            ),
        ),
        migrations.AlterField(
            model_name="import",
            name="state",
            field=models.CharField(
                choices=[
                    ("queued", "Queued"),
                    ("running", "Running"),
                    ("done", "Done"),
                    ("failed", "Failed"),
                    ("cancelled", "Cancelled"),
                    ("removed", "Removed"),
                ],
                default="queued",
                max_length=10,
            ),
        ),
        migrations.CreateModel(
            name="UploadedFile",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("file_name", models.CharField(help_text="as the sender called it", max_length=200)),
                (
                    "path",
                    models.CharField(
                        blank=True, help_text="relative to the home; empty once confirmed", max_length=200
                    ),
                ),
                ("sha256", models.CharField(max_length=64)),
                ("size", models.BigIntegerField(help_text="in bytes")),
                ("kind", models.CharField(blank=True, help_text="as confirmed", max_length=12)),
                ("reading", models.JSONField(blank=True, help_text="as confirmed", null=True)),
                ("created_by", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("confirmed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="uploaded_files",
                        to="inference.model",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["model", "-confirmed_at"], name="uploaded_files_confirmed")],
            },
        ),
    ]
