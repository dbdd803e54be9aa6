"""Adds `is_summarised` to chunks, `rebuild` to touched periods, and the table of label changes.

Existing chunks count as summarised; PostgreSQL does not rewrite them. Touched periods are rebuilt from all their rows. If
a model keeps no rows, the chunks of a day count as unsummarised unless its summary includes them.
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
    AND stored.rows > coalesce((SELECT sum(counted.rows) FROM monitors_summary AS counted
            WHERE (counted.model_id, counted.version_id, counted.role) = (stored.model_id, stored.version_id, stored.role)
            AND counted.span = 'day' AND counted.segment = '' AND (counted.start AT TIME ZONE 'UTC')::date = stored.day), 0)
        - coalesce((SELECT sum(dropped.rows) FROM inference_summedday AS dropped
            WHERE (dropped.model_id, dropped.version_id, dropped.role, dropped.day)
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
            name="LabelChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("prediction_id", models.CharField(db_collation="C", max_length=210)),
                ("prediction_time", models.DateTimeField()),
                (
                    "value",
                    models.CharField(blank=True, help_text="the label before the change", max_length=200),
                ),
                (
                    "known_us",
                    models.BigIntegerField(
                        default=0, help_text="when that label became known; 0 if there was none"
                    ),
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
                        name="one_label_change_a_prediction",
                    )
                ],
            },
        ),
    ]
