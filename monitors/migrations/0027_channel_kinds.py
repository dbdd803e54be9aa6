"""The kinds of channel are registered in code: a new one changes no table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitors", "0026_packed_points")]

    operations = [
        migrations.AlterField(
            model_name="channel",
            name="kind",
            field=models.CharField(max_length=20, help_text="a name in monitors.alerts.channels.KINDS"),
        ),
        migrations.AlterField(
            model_name="channel",
            name="target",
            field=models.CharField(max_length=500, help_text="where it sends to, such as an e-mail address"),
        ),
    ]
