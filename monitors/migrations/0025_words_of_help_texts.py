"""Writes the help texts of references in the words of the documentation."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("monitors", "0024_whole_summaries"),
    ]

    operations = [
        migrations.AlterField(
            model_name="reference",
            name="error_basis",
            field=models.CharField(
                blank=True,
                help_text="why its errors are estimated from features, or from the prediction",
                max_length=300,
            ),
        ),
        migrations.AlterField(
            model_name="reference",
            name="learnt_errors",
            field=models.BinaryField(
                blank=True,
                help_text="encoded LearntErrors, where features estimate a regression's errors better",
                null=True,
            ),
        ),
    ]
