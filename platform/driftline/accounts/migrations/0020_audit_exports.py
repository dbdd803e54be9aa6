from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0019_quotas_of_projects"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditExport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("lease_until", models.DateTimeField(blank=True, null=True)),
                ("lease_token", models.BigIntegerField(blank=True, null=True)),
                (
                    "receiver",
                    models.CharField(
                        choices=[("syslog", "Syslog"), ("otlp", "OpenTelemetry")], max_length=10, unique=True
                    ),
                ),
                (
                    "position",
                    models.BigIntegerField(
                        db_default=0,
                        default=0,
                        help_text="the number in the chain of the last entry that it has",
                    ),
                ),
                (
                    "sent",
                    models.BigIntegerField(
                        db_default=0, default=0, help_text="entries, those that came twice too"
                    ),
                ),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
                (
                    "error",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="why nothing can be sent",
                        max_length=500,
                    ),
                ),
                ("failing_since", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "abstract": False,
            },
        ),
    ]
