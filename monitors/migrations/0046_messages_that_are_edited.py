from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitors", "0045_custom_metrics")]

    operations = [
        migrations.AddField(
            model_name="delivery",
            name="remote_id",
            field=models.CharField(
                blank=True,
                help_text="of the message that shows it at the receiver, where it can be edited",
                max_length=200,
            ),
        ),
    ]
