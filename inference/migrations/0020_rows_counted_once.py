"""Rows are summarised once: a chunk says whether the summaries count it, and a changed label what they count of it.

Chunks that are there count as summarised, without being written anew. What was touched is made anew from all its rows;
of a model that keeps none, the chunks of a day are added that its summary does not count beside those that have gone.
"""

import django.db.models.deletion
from django.db import migrations, models

FORWARDS = """
ALTER TABLE inference_predictionchunk ADD COLUMN is_summarised boolean NOT NULL DEFAULT true;
ALTER TABLE inference_predictionchunk ALTER COLUMN is_summarised SET DEFAULT false;
CREATE INDEX chunks_to_summarise ON inference_predictionchunk_fresh (model_id) WHERE NOT is_summarised;
DO $$ BEGIN IF to_regclass('monitors_summary') IS NOT NULL THEN
    UPDATE inference_predictionchunk AS chunk SET is_summarised = false FROM (
        SELECT model_id, version_id, role, day, sum(rows) AS rows FROM inference_predictionchunk
        WHERE model_id IN (SELECT id FROM inference_model WHERE rows_kept = 'none') GROUP BY 1, 2, 3, 4
    ) AS stored
    WHERE (chunk.model_id, chunk.version_id, chunk.role, chunk.day)
        = (stored.model_id, stored.version_id, stored.role, stored.day)
    AND stored.rows > coalesce((SELECT sum(told.rows) FROM monitors_summary AS told
            WHERE (told.model_id, told.version_id, told.role) = (stored.model_id, stored.version_id, stored.role)
            AND told.span = 'day' AND told.segment = '' AND (told.start AT TIME ZONE 'UTC')::date = stored.day), 0)
        - coalesce((SELECT sum(gone.rows) FROM inference_summedday AS gone
            WHERE (gone.model_id, gone.version_id, gone.role, gone.day)
                = (stored.model_id, stored.version_id, stored.role, stored.day)), 0);
END IF; END $$;
"""
BACKWARDS = "ALTER TABLE inference_predictionchunk DROP COLUMN is_summarised;"


class Migration(migrations.Migration):
    dependencies = [("inference", "0019_attempts_of_imports_and_erasures")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(FORWARDS, BACKWARDS)],
            state_operations=[
                migrations.AddField(
                    model_name="predictionchunk",
                    name="is_summarised",
                    field=models.BooleanField(
                        db_default=False, default=False, help_text="whether the summaries count its rows"
                    ),
                )
            ],
        ),
        migrations.AddField(
            model_name="touchedperiod",
            name="rebuild",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.RunSQL("UPDATE inference_touchedperiod SET rebuild = true", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="RelabelledPrediction",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("prediction_id", models.CharField(db_collation="C", max_length=210)),
                ("prediction_time", models.DateTimeField()),
                ("value", models.CharField(blank=True, max_length=200)),
                (
                    "known_us",
                    models.BigIntegerField(default=0, help_text="when that label was known; 0 is none"),
                ),
                (
                    "model",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="inference.model",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("model", "prediction_time", "prediction_id"),
                        name="relabelled_prediction_once",
                    )
                ],
            },
        ),
    ]
