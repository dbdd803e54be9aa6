-- The log of predictions: tables that Django's schema editor cannot make, as they are partitioned or packed tightly.
-- Columns of eight bytes come first, then those of four, so that rows have no padding.

-- Narrow rows, in partitions of the week in which they arrived. Workers make later weeks and drop old ones.
CREATE TABLE inference_predictionrow (
    event_time timestamptz NOT NULL,
    body_hash bigint NOT NULL,
    model_id integer NOT NULL,
    version_id integer NOT NULL,
    slot integer NOT NULL,
    week date NOT NULL,
    role varchar(10) NOT NULL,
    prediction_id varchar(210) COLLATE "C" NOT NULL,
    client_id varchar(200) COLLATE "C" NOT NULL,
    PRIMARY KEY (model_id, prediction_id, slot, week)
) PARTITION BY RANGE (week);
CREATE INDEX rows_by_client_id ON inference_predictionrow (model_id, client_id) WHERE client_id <> '';
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

-- Chunks of rows: what was just stored in a small partition of its own, packed chunks in one of their event day. The
-- fresh partition has the indexes that writers and readers need; a day's has one, as a question over many days locks
-- each of them. Payloads are compressed already, so PostgreSQL does not try.
CREATE TABLE inference_predictionchunk (
    id bigserial,
    model_id bigint NOT NULL
        CONSTRAINT chunk_of_a_model REFERENCES inference_model DEFERRABLE INITIALLY DEFERRED,
    version_id bigint NOT NULL
        CONSTRAINT chunk_of_a_version REFERENCES inference_version DEFERRABLE INITIALLY DEFERRED,
    start timestamptz NOT NULL,
    "end" timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    end_stored_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    day date NOT NULL,
    week date NOT NULL,
    rows integer NOT NULL,
    is_packed boolean NOT NULL DEFAULT false,
    is_summarised boolean NOT NULL DEFAULT false,
    is_sent boolean NOT NULL DEFAULT false,
    role varchar(10) NOT NULL,
    damage varchar(200) NOT NULL DEFAULT '',
    payload bytea NOT NULL,
    id_hashes bytea,
    labels bytea
) PARTITION BY LIST (is_packed);
ALTER TABLE inference_predictionchunk
    ALTER COLUMN payload SET STORAGE EXTERNAL,
    ALTER COLUMN id_hashes SET STORAGE EXTERNAL,
    ALTER COLUMN labels SET STORAGE EXTERNAL;
CREATE TABLE inference_predictionchunk_fresh PARTITION OF inference_predictionchunk FOR VALUES IN (false);
ALTER TABLE inference_predictionchunk_fresh ADD PRIMARY KEY (id);
CREATE INDEX fresh_chunks_of_a_day ON inference_predictionchunk_fresh (model_id, day, role);
CREATE INDEX newest_fresh_chunk ON inference_predictionchunk_fresh (model_id, "end" DESC);
CREATE INDEX chunks_to_summarise ON inference_predictionchunk_fresh (model_id) WHERE NOT is_summarised;
CREATE INDEX chunks_to_send ON inference_predictionchunk_fresh (model_id) WHERE NOT is_sent;
CREATE TABLE inference_predictionchunk_packed PARTITION OF inference_predictionchunk FOR VALUES IN (true)
    PARTITION BY RANGE (day);
CREATE INDEX packed_chunks_of_a_day ON inference_predictionchunk_packed (model_id, role, version_id);

CREATE TABLE inference_label (
    prediction_time timestamptz,
    received_at timestamptz NOT NULL,
    labelled_at timestamptz,
    model_id integer NOT NULL,
    revision integer NOT NULL,
    is_current boolean NOT NULL,
    given_id varchar(210) COLLATE "C" NOT NULL,
    value varchar(200) NOT NULL,
    source varchar(16) NOT NULL,
    prediction_id varchar(210) COLLATE "C" NOT NULL,
    PRIMARY KEY (model_id, given_id, revision)
);
CREATE INDEX labels_in_prediction_time ON inference_label (model_id, prediction_time)
    WHERE is_current AND prediction_time IS NOT NULL;
CREATE INDEX labels_that_wait ON inference_label (model_id, given_id) WHERE prediction_time IS NULL;
