import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0018_roles_of_projects"),
    ]

    operations = [
        migrations.AddField(
            model_name="project",
            name="max_bytes",
            field=models.PositiveBigIntegerField(
                blank=True,
                help_text="Bytes that its log, summaries and artifacts may hold. Empty: no limit.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="project",
            name="max_models",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Models that it may have, with archived ones. Empty: no limit.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="project",
            name="max_rows_per_second",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Rows that may be logged, and asked of its models, through each serving process. Empty: no limit.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="project",
            name="stored_bytes",
            field=models.BigIntegerField(
                blank=True,
                help_text="what they hold, measured every ten minutes where there is a quota",
                null=True,
            ),
        ),
    ]
