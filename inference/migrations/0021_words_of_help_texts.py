"""Writes the help texts of erasures, event halves, imports, labels and models in the words of the documentation."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0020_rows_counted_once"),
    ]

    operations = [
        migrations.AlterField(
            model_name="erasure",
            name="remains",
            field=models.JSONField(
                default=list,
                help_text="names of models with summaries that count dropped rows: nobody can be taken out of them",
            ),
        ),
        migrations.AlterField(
            model_name="eventhalf",
            name="time",
            field=models.DateTimeField(help_text="when it happened, as sent", null=True),
        ),
        migrations.AlterField(
            model_name="eventhalf",
            name="version",
            field=models.CharField(blank=True, help_text="as sent; empty where it was not", max_length=64),
        ),
        migrations.AlterField(
            model_name="import",
            name="labels",
            field=models.BigIntegerField(default=0, help_text="labels in a file of predictions"),
        ),
        migrations.AlterField(
            model_name="label",
            name="labelled_at",
            field=models.DateTimeField(blank=True, help_text="when it happened, as sent", null=True),
        ),
        migrations.AlterField(
            model_name="label",
            name="source",
            field=models.CharField(blank=True, help_text="prefix of the token that sent it", max_length=16),
        ),
        migrations.AlterField(
            model_name="model",
            name="rows_kept",
            field=models.CharField(
                choices=[
                    ("all", "All, for as long as the model keeps rows"),
                    ("none", "None: each is dropped once it is summarised"),
                ],
                db_default="all",
                default="all",
                help_text="which rows are kept after they are summarised",
                max_length=4,
            ),
        ),
    ]
