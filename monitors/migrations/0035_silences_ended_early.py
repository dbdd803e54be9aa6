"""A silence that ends before its time keeps who ended it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("monitors", "0034_archived_references"),
    ]

    operations = [
        migrations.AddField(
            model_name="silence",
            name="ended_by",
            field=models.CharField(blank=True, help_text="who ended it before its time", max_length=200),
        ),
    ]
