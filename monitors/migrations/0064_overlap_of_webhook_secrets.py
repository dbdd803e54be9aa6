from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("monitors", "0063_sinks"),
    ]

    operations = [
        migrations.AddField(
            model_name="mlflowconnection",
            name="previous_webhook_secret",
            field=models.BinaryField(
                blank=True, db_default=b"", default=b"", help_text="the webhook's secret before, encrypted"
            ),
        ),
        migrations.AddField(
            model_name="mlflowconnection",
            name="previous_webhook_secret_until",
            field=models.DateTimeField(
                blank=True, help_text="when webhooks that are signed with it are refused", null=True
            ),
        ),
    ]
