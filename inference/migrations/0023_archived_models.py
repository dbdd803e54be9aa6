"""Adds since when a model is put aside."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0022_reading_of_files"),
    ]

    operations = [
        migrations.AddField(
            model_name="model",
            name="archived_at",
            field=models.DateTimeField(
                blank=True,
                help_text="since when it is put aside: not listed, and its rules not judged",
                null=True,
            ),
        ),
    ]
