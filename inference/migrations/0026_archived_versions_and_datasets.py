from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inference", "0025_plural_of_event_halves")]

    operations = [
        migrations.AddField(
            model_name=name,
            name="archived_at",
            field=models.DateTimeField(blank=True, help_text="since when it is not listed", null=True),
        )
        for name in ("dataset", "version")
    ]
