import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0027_unpublished_changes"),
        ("monitors", "0058_snapshot_parts"),
    ]

    operations = [
        migrations.AlterField(
            model_name="mlflowreport",
            name="failures",
            field=models.IntegerField(
                db_default=0, default=0, help_text="times in a row that the other server was away"
            ),
        ),
        migrations.AlterField(
            model_name="mlflowversion",
            name="failures",
            field=models.IntegerField(
                db_default=0, default=0, help_text="times in a row that the other server was away"
            ),
        ),
        migrations.CreateModel(
            name="Pull",
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
                (
                    "source",
                    models.CharField(
                        choices=[("url", "Web address"), ("hugging_face", "Hugging Face")], max_length=12
                    ),
                ),
                ("url", models.CharField(help_text="of the file, without a query", max_length=700)),
                (
                    "query",
                    models.BinaryField(
                        blank=True, default=b"", help_text="of the address; encrypted, as it may sign it"
                    ),
                ),
                ("repository", models.CharField(blank=True, max_length=200)),
                ("revision", models.CharField(blank=True, max_length=100)),
                (
                    "file",
                    models.CharField(blank=True, help_text="its path in the repository", max_length=200),
                ),
                (
                    "commit",
                    models.CharField(blank=True, help_text="what the revision stood for", max_length=64),
                ),
                (
                    "secret",
                    models.BinaryField(
                        blank=True,
                        default=b"",
                        help_text="encrypted; empty where none is set, and at the end",
                    ),
                ),
                (
                    "sha256",
                    models.CharField(
                        blank=True, help_text="what the file must have; empty: any", max_length=64
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        blank=True, help_text="of the version; empty: the next number", max_length=64
                    ),
                ),
                (
                    "metadata",
                    models.JSONField(
                        blank=True, default=dict, help_text="as with an upload; empty: the champion's"
                    ),
                ),
                ("starts_run", models.BooleanField(default=False, help_text="compare it with the champion")),
                (
                    "request_key",
                    models.CharField(
                        blank=True, help_text="the Idempotency-Key of who asked", max_length=255
                    ),
                ),
                ("received_bytes", models.BigIntegerField(default=0)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("registered", "it is a version"),
                            ("compared", "a run compares it"),
                            ("champion", "it was or became the champion without a run"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="waiting",
                        max_length=10,
                    ),
                ),
                ("created_by", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="pulls",
                        to="inference.model",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="pulls",
                        to="monitors.run",
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="pulls",
                        to="inference.version",
                    ),
                ),
            ],
            options={
                "verbose_name": "pull",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("request_key", ""), _negated=True),
                        fields=("model", "request_key"),
                        name="pull_once_per_key",
                    )
                ],
            },
        ),
    ]
