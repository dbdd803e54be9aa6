"""Adds `is_sent` to chunks, and what sinks have yet to send.

Existing chunks count as sent; PostgreSQL does not rewrite them.
"""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

FORWARDS = """
ALTER TABLE inference_predictionchunk ADD COLUMN is_sent boolean NOT NULL DEFAULT true;
ALTER TABLE inference_predictionchunk ALTER COLUMN is_sent SET DEFAULT false;
CREATE INDEX chunks_to_send ON inference_predictionchunk_fresh (model_id) WHERE NOT is_sent;
"""
BACKWARDS = "ALTER TABLE inference_predictionchunk DROP COLUMN is_sent;"


class Migration(migrations.Migration):
    dependencies = [("inference", "0044_lake_files_of_parts_of_days")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(FORWARDS, BACKWARDS)],
            state_operations=[
                migrations.AddField(
                    model_name="predictionchunk",
                    name="is_sent",
                    field=models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="whether no sink has to send its rows any more",
                    ),
                )
            ],
        ),
        migrations.CreateModel(
            name="UnsentChunk",
            fields=[
                ("chunk", models.BigIntegerField(primary_key=True, serialize=False)),
                ("day", models.DateField(help_text="its partition")),
                ("rows", models.IntegerField()),
                ("created_at", models.DateTimeField(help_text="when the last of its rows was stored")),
                (
                    "is_dropped",
                    models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="whether retention dropped it before it was sent",
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="inference.model"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="UnsentLabel",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("given_id", models.CharField(db_collation="C", max_length=210)),
                ("revision", models.IntegerField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="inference.model"
                    ),
                ),
            ],
        ),
    ]
