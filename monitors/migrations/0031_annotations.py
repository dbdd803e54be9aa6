import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inference", "0021_words_of_help_texts"), ("monitors", "0030_joint_draws_expire")]

    operations = [
        migrations.CreateModel(
            name="Annotation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("start", models.DateTimeField(help_text="event time")),
                ("end", models.DateTimeField(blank=True, help_text="empty: a moment", null=True)),
                ("text", models.CharField(max_length=500)),
                ("link", models.CharField(blank=True, help_text="http or https", max_length=500)),
                ("created_by", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "model",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="annotations",
                        to="inference.model",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["model", "start"], name="annotations_in_time")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("end__isnull", True), ("end__gt", models.F("start")), _connector="OR"
                        ),
                        name="an_annotation_ends_after_its_start",
                    )
                ],
            },
        )
    ]
