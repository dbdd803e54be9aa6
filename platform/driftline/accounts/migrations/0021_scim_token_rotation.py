from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0020_audit_exports"),
    ]

    operations = [
        migrations.AddField(
            model_name="directorytoken",
            name="allowed_networks",
            field=models.JSONField(
                blank=True,
                db_default=models.Value([], models.JSONField()),
                default=list,
                help_text="in CIDR notation, from which alone it may be used; empty: from anywhere",
            ),
        ),
        migrations.AddField(
            model_name="directorytoken",
            name="previous_digest",
            field=models.CharField(blank=True, db_default="", default="", max_length=64),
        ),
        migrations.AddField(
            model_name="directorytoken",
            name="previous_until",
            field=models.DateTimeField(
                blank=True, help_text="when the secret of before the last rotation ends, or ended", null=True
            ),
        ),
    ]
