"""Narrow rows in partitions of the week in which they arrived; chunks say theirs, and carry the hashes of their ids.

A table cannot become a partitioned one, so it is made anew and filled from the old one. When the rows that are there
arrived was not kept: they count as of the present week, so each stays for at least its time. The columns of eight bytes
come first, which saves their padding.
"""

from datetime import UTC, date, datetime, timedelta

import django.db.models.deletion
from django.db import migrations, models

FORWARDS = """
ALTER TABLE inference_predictionchunk
    ADD COLUMN week date NOT NULL DEFAULT date_trunc('week', now() AT TIME ZONE 'UTC')::date,
    ADD COLUMN id_hashes bytea;
ALTER TABLE inference_predictionchunk ALTER COLUMN week DROP DEFAULT;
ALTER TABLE inference_predictionchunk ALTER COLUMN id_hashes SET STORAGE EXTERNAL;
ALTER TABLE inference_predictionrow RENAME TO inference_predictionrow_before;
CREATE TABLE inference_predictionrow (
    model_id bigint NOT NULL,
    version_id bigint NOT NULL,
    slot bigint NOT NULL,
    event_time timestamptz NOT NULL,
    body_hash bigint NOT NULL,
    week date NOT NULL,
    role varchar(10) NOT NULL,
    prediction_id varchar(210) COLLATE "C" NOT NULL,
    client_id varchar(200) COLLATE "C"
) PARTITION BY RANGE (week);
DO $$
DECLARE
    this date := date_trunc('week', now() AT TIME ZONE 'UTC')::date;
    monday date;
BEGIN
    FOREACH monday IN ARRAY ARRAY[this, this + 7] LOOP
        EXECUTE format(
            'CREATE TABLE inference_predictionrow_w%s PARTITION OF inference_predictionrow FOR VALUES FROM (%L) TO (%L)',
            to_char(monday, 'YYYYMMDD'), monday, monday + 7
        );
    END LOOP;
END $$;
INSERT INTO inference_predictionrow
SELECT model_id, version_id, slot, event_time, body_hash, date_trunc('week', now() AT TIME ZONE 'UTC')::date, role,
    prediction_id, client_id
FROM inference_predictionrow_before;
DROP TABLE inference_predictionrow_before;
ALTER TABLE inference_predictionrow ADD PRIMARY KEY (model_id, prediction_id, slot, week);
CREATE INDEX rows_by_client_id ON inference_predictionrow (model_id, client_id) WHERE client_id IS NOT NULL;
"""
BACKWARDS = """
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
SELECT model_id, version_id, slot, role, prediction_id, client_id, event_time, body_hash
FROM inference_predictionrow_before;
DROP TABLE inference_predictionrow_before;
ALTER TABLE inference_predictionrow ADD PRIMARY KEY (model_id, prediction_id, slot);
CREATE INDEX rows_by_client_id ON inference_predictionrow (model_id, client_id) WHERE client_id IS NOT NULL;
ALTER TABLE inference_predictionchunk DROP COLUMN week, DROP COLUMN id_hashes;
"""


_ROLES = [("champion", "Champion"), ("shadow", "Shadow"), ("canary", "Canary"), ("direct", "Direct")]


def _this_monday() -> date:
    today = datetime.now(UTC).date()
    return today - timedelta(days=today.weekday())


def _owner(to: str) -> "models.ForeignKey[models.Model, models.Model]":
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        on_delete=django.db.models.deletion.CASCADE,
        related_name="+",
        to=to,
    )


class Migration(migrations.Migration):
    dependencies = [("inference", "0006_partitions")]

    operations = [
        migrations.RemoveConstraint(model_name="packedday", name="one_packed_day"),
        migrations.AddField(
            model_name="packedday",
            name="week",
            field=models.DateField(
                default=_this_monday, help_text="the Monday of the week in which the rows arrived"
            ),
            preserve_default=False,
        ),
        migrations.AddConstraint(
            model_name="packedday",
            constraint=models.UniqueConstraint(
                fields=("model", "day", "version", "role", "week"), name="one_packed_day"
            ),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(FORWARDS, BACKWARDS)],
            state_operations=[
                migrations.AddField(
                    model_name="predictionchunk",
                    name="week",
                    field=models.DateField(help_text="the Monday of the week in which its rows arrived"),
                    preserve_default=False,
                ),
                migrations.AddField(
                    model_name="predictionchunk",
                    name="id_hashes",
                    field=models.BinaryField(
                        help_text="of ids and client ids, sorted; when packed", null=True
                    ),
                ),
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
                                "week",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("slot", models.BigIntegerField()),
                        ("week", models.DateField(help_text="the Monday of the week in which it arrived")),
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
    ]
