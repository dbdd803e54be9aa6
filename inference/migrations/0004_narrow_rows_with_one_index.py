"""Narrow rows with one index instead of four, and without foreign keys that are checked row by row.

Django cannot change a primary key into a composite one, so the table is made anew and filled from the old one.
"""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models

FORWARDS = """
ALTER TABLE inference_predictionrow RENAME TO inference_predictionrow_before;
CREATE TABLE inference_predictionrow (
    model_id bigint NOT NULL,
    version_id bigint NOT NULL,
    slot bigint NOT NULL,
    role varchar(10) NOT NULL,
    prediction_id varchar(210) COLLATE "C" NOT NULL,
    client_id varchar(200) COLLATE "C",
    event_time timestamptz NOT NULL,
    body_hash bigint NOT NULL
);
INSERT INTO inference_predictionrow
SELECT model_id, version_id, CASE role WHEN 'shadow' THEN version_id ELSE 0 END, role, prediction_id, client_id,
    event_time, body_hash
FROM inference_predictionrow_before;
DROP TABLE inference_predictionrow_before;
ALTER TABLE inference_predictionrow ADD PRIMARY KEY (model_id, prediction_id, slot);
CREATE INDEX rows_by_client_id ON inference_predictionrow (model_id, client_id) WHERE client_id IS NOT NULL;
"""
_ROLES = [("champion", "Champion"), ("shadow", "Shadow"), ("canary", "Canary"), ("direct", "Direct")]


def _owner(to: str) -> "models.ForeignKey[Any, Any]":
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        on_delete=django.db.models.deletion.CASCADE,
        related_name="+",
        to=to,
    )


class Migration(migrations.Migration):
    dependencies = [("inference", "0003_alias")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(FORWARDS)],
            state_operations=[
                migrations.DeleteModel("PredictionRow"),
                migrations.CreateModel(
                    name="PredictionRow",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "model",
                                "prediction_id",
                                "slot",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("slot", models.BigIntegerField()),
                        ("role", models.CharField(choices=_ROLES, max_length=10)),
                        ("prediction_id", models.CharField(db_collation="C", max_length=210)),
                        (
                            "client_id",
                            models.CharField(blank=True, db_collation="C", max_length=200, null=True),
                        ),
                        ("event_time", models.DateTimeField()),
                        (
                            "body_hash",
                            models.BigIntegerField(help_text="tells a repeated row from a conflicting one"),
                        ),
                        ("model", _owner("inference.model")),
                        ("version", _owner("inference.version")),
                    ],
                    options={
                        "indexes": [
                            models.Index(
                                condition=models.Q(("client_id", None), _negated=True),
                                fields=["model", "client_id"],
                                name="rows_by_client_id",
                            )
                        ],
                    },
                ),
            ],
        ),
        migrations.AlterField(
            model_name="label",
            name="given_id",
            field=models.CharField(db_collation="C", max_length=210),
        ),
        migrations.AlterField(
            model_name="label",
            name="prediction_id",
            field=models.CharField(blank=True, db_collation="C", max_length=210),
        ),
        migrations.AddIndex(
            model_name="label",
            index=models.Index(
                condition=models.Q(("prediction_id", "")),
                fields=["model", "given_id"],
                name="labels_that_wait",
            ),
        ),
    ]
