"""Chunks in partitions: what was just stored in a small one of its own, packed chunks in one of their event day.

A table cannot become a partitioned one, so it is made anew and filled from the old one: every chunk that is there
counts as fresh, and is packed soon. The fresh partition has the indexes that writers and readers need; a day's has one,
because a question over many days locks each of them. Payloads are compressed already, so PostgreSQL does not try.
"""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

_CHUNKS = """
CREATE TABLE inference_predictionchunk (
    id bigint NOT NULL,
    model_id bigint NOT NULL,
    version_id bigint NOT NULL,
    start timestamptz NOT NULL,
    "end" timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    {extra}
    day date NOT NULL,
    rows integer NOT NULL,
    role varchar(10) NOT NULL,
    payload bytea NOT NULL
) {partitioned};
ALTER TABLE inference_predictionchunk ALTER COLUMN payload SET STORAGE {storage};
"""
_MOVED = 'id, model_id, version_id, start, "end", created_at, day, rows, role, payload'
_OUT_OF_THE_WAY = "ALTER TABLE inference_predictionchunk RENAME TO inference_predictionchunk_before;"
_MOVE = f"""
INSERT INTO inference_predictionchunk ({_MOVED}) SELECT {_MOVED} FROM inference_predictionchunk_before ORDER BY id;
DROP TABLE inference_predictionchunk_before;
"""
_NUMBER = """
CREATE SEQUENCE inference_predictionchunk_id_seq OWNED BY inference_predictionchunk.id;
SELECT setval('inference_predictionchunk_id_seq', (SELECT coalesce(max(id), 0) + 1 FROM inference_predictionchunk), false);
ALTER TABLE inference_predictionchunk ALTER COLUMN id SET DEFAULT nextval('inference_predictionchunk_id_seq');
"""
_OWNERS = """
ALTER TABLE inference_predictionchunk
    ADD CONSTRAINT chunk_of_a_model FOREIGN KEY (model_id) REFERENCES inference_model DEFERRABLE INITIALLY DEFERRED,
    ADD CONSTRAINT chunk_of_a_version FOREIGN KEY (version_id) REFERENCES inference_version DEFERRABLE INITIALLY DEFERRED;
"""
_EXTRA = "end_stored_at timestamptz NOT NULL DEFAULT statement_timestamp(), is_packed boolean NOT NULL DEFAULT false,"

FORWARDS = (
    _OUT_OF_THE_WAY
    + _CHUNKS.format(extra=_EXTRA, partitioned="PARTITION BY LIST (is_packed)", storage="EXTERNAL")
    + """
CREATE TABLE inference_predictionchunk_fresh PARTITION OF inference_predictionchunk FOR VALUES IN (false);
CREATE TABLE inference_predictionchunk_packed PARTITION OF inference_predictionchunk FOR VALUES IN (true)
    PARTITION BY RANGE (day);
"""
    + _MOVE
    + """
UPDATE inference_predictionchunk SET end_stored_at = created_at;
ALTER TABLE inference_predictionchunk_fresh ADD PRIMARY KEY (id);
CREATE INDEX fresh_chunks_of_a_day ON inference_predictionchunk_fresh (model_id, day, role);
CREATE INDEX newest_fresh_chunk ON inference_predictionchunk_fresh (model_id, "end" DESC);
CREATE INDEX packed_chunks_of_a_day ON inference_predictionchunk_packed (model_id, role, version_id);
"""
    + _NUMBER
    + _OWNERS
)
BACKWARDS = (
    """
DO $$ BEGIN
    IF EXISTS (SELECT 1 FROM inference_predictionchunk WHERE is_packed) THEN
        RAISE EXCEPTION 'Packed chunks cannot be read by the release before; restore its backup instead.';
    END IF;
END $$;
"""
    + _OUT_OF_THE_WAY
    + _CHUNKS.format(extra="", partitioned="", storage="EXTENDED")
    + _MOVE
    + """
ALTER TABLE inference_predictionchunk ADD PRIMARY KEY (id);
CREATE INDEX inference_predictionchunk_model_id ON inference_predictionchunk (model_id);
CREATE INDEX inference_predictionchunk_version_id ON inference_predictionchunk (version_id);
CREATE INDEX chunks_of_a_day ON inference_predictionchunk (model_id, day, role);
CREATE INDEX newest_chunk ON inference_predictionchunk (model_id, "end" DESC);
"""
    + _NUMBER
    + _OWNERS
)
_ROLES = [("champion", "Champion"), ("shadow", "Shadow"), ("canary", "Canary"), ("direct", "Direct")]
_NOW = django.db.models.functions.datetime.Now()


def _key() -> "models.BigAutoField[int, int]":
    return models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


def _owner(to: str, *, indexed: bool = False) -> "models.ForeignKey[models.Model, models.Model]":
    return models.ForeignKey(
        db_index=indexed, on_delete=django.db.models.deletion.CASCADE, related_name="+", to=to
    )


class Migration(migrations.Migration):
    dependencies = [("inference", "0005_rollout")]

    operations = [
        migrations.AddField(
            model_name="model",
            name="retention_days",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="days that rows are kept, 0 for ever; empty: as DRIFTLINE_RETENTION_DAYS says",
                null=True,
            ),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(FORWARDS, BACKWARDS)],
            state_operations=[
                migrations.RemoveIndex(model_name="predictionchunk", name="chunks_of_a_day"),
                migrations.RemoveIndex(model_name="predictionchunk", name="newest_chunk"),
                migrations.AddField(
                    model_name="predictionchunk",
                    name="end_stored_at",
                    field=models.DateTimeField(db_default=_NOW, help_text="when the row at `end` was stored"),
                ),
                migrations.AddField(
                    model_name="predictionchunk",
                    name="is_packed",
                    field=models.BooleanField(db_default=False, default=False),
                ),
                migrations.AlterField(
                    model_name="predictionchunk",
                    name="created_at",
                    field=models.DateTimeField(
                        db_default=_NOW, help_text="when the last of its rows was stored"
                    ),
                ),
                migrations.AlterField("predictionchunk", "model", _owner("inference.model")),
                migrations.AlterField("predictionchunk", "version", _owner("inference.version")),
            ],
        ),
        migrations.CreateModel(
            name="PackedDay",
            fields=[
                ("id", _key()),
                ("role", models.CharField(choices=_ROLES, max_length=10)),
                ("day", models.DateField()),
                ("rows", models.BigIntegerField()),
                ("start", models.DateTimeField(help_text="event time of the earliest row")),
                ("end", models.DateTimeField(help_text="event time of the latest row")),
                ("created_at", models.DateTimeField(help_text="when the last of its rows was stored")),
                ("end_stored_at", models.DateTimeField(help_text="when the row at `end` was stored")),
                ("model", _owner("inference.model")),
                ("version", _owner("inference.version", indexed=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("model", "day", "version", "role"), name="one_packed_day")
                ],
                "indexes": [
                    models.Index(fields=["model", "-end"], name="newest_packed_day"),
                    models.Index(fields=["day"], name="packed_days_by_day"),
                ],
            },
        ),
        migrations.CreateModel(
            name="UnpackedDay",
            fields=[
                ("id", _key()),
                ("generation", models.BigIntegerField(default=1)),
                ("touched_at", models.DateTimeField(db_default=_NOW)),
                ("lease_until", models.DateTimeField(blank=True, null=True)),
                ("lease_token", models.BigIntegerField(blank=True, null=True)),
                ("role", models.CharField(choices=_ROLES, max_length=10)),
                ("day", models.DateField()),
                ("model", _owner("inference.model")),
                ("version", _owner("inference.version", indexed=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("model", "version", "role", "day"), name="one_unpacked_day"
                    )
                ],
            },
        ),
    ]
