from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitors", "0033_plural_of_segment_searches")]

    operations = [
        migrations.AddField(
            model_name="reference",
            name="archived_at",
            field=models.DateTimeField(blank=True, help_text="since when it is not listed", null=True),
        ),
    ]
