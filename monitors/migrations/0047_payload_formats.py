from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitors", "0046_messages_that_are_edited")]

    operations = [
        migrations.AddField(
            model_name="channel",
            name="payload_format",
            field=models.CharField(
                default="driftline",
                help_text="of a webhook's body: a name in monitors.alerts.channels.webhook.formats.FORMATS",
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="channel",
            name="template",
            field=models.JSONField(
                blank=True, help_text="of a webhook's body, where its format is template", null=True
            ),
        ),
    ]
