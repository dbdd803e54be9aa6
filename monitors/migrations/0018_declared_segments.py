import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0016_request_waits"),
        ("monitors", "0017_null_draws"),
    ]

    operations = [
        migrations.RenameModel("Segment", "SegmentFeature"),
        migrations.AlterField(
            model_name="segmentfeature",
            name="model",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="segment_features",
                to="inference.model",
            ),
        ),
        migrations.CreateModel(
            name="Segment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=200)),
                (
                    "conditions",
                    models.JSONField(help_text="see Condition in monitors/stats/segments/conditions.py"),
                ),
                (
                    "since",
                    models.DateTimeField(help_text="when it was declared, or its conditions were changed"),
                ),
                (
                    "model",
                    # No index of its own: the one of the former table of this name keeps its name.
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="segments",
                        to="inference.model",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("model", "name"), name="one_segment_a_name")],
            },
        ),
    ]
