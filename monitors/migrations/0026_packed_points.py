import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import monitors.metrics.models

_STATUSES = (
    "", "ok", "warning", "critical", "insufficient", "unripe", "unreliable", "no_data", "error", "not_informative",
)  # fmt: skip
_CODES = ", ".join(f"'{name}'" for name in _STATUSES[1:])

VIEW = f"""
CREATE VIEW monitors_metricpoint AS
SELECT
    r.id * 65536 + e.position AS id, r.id AS row_id, r.measure, r.model_id, r.role, r.version, r.span, r.start,
    CASE r.span
        WHEN 'hour' THEN r.start + interval '1 hour'
        WHEN 'day' THEN r.start + interval '24 hours'
        WHEN 'week' THEN r.start + interval '168 hours'
        WHEN 'month' THEN (r.start AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'
        ELSE r.start + rtrim(r.span, 'd')::int * interval '24 hours'
    END AS "end",
    e.metric, e.feature, r.segment,
    r."values"[e.position] AS value,
    coalesce(r.ns[e.position], r.n) AS n,
    r.lowers[e.position] AS lower,
    r.uppers[e.position] AS upper,
    coalesce(r.thresholds[e.position], l.thresholds[e.position]) AS threshold,
    (ARRAY[{_CODES}])[get_byte(r.statuses, e.position - 1)] AS status,
    nullif(
        jsonb_strip_nulls(jsonb_build_object(
            'p_value', r.p_values[e.position],
            'decision_p_value', r.decision_p_values[e.position],
            'why', l.whys -> (e.position - 1)
        ))
        || coalesce(r.details -> (r.kinds[e.position] - 1), '{{}}')
        || coalesce(r.detail, '{{}}'),
        '{{}}'
    ) AS detail,
    r.revision, r.updated_at
FROM monitors_packedpoints r
JOIN monitors_pointname e ON e.model_id = r.model_id AND e.layout = r.layout AND e.measure = r.measure
LEFT JOIN monitors_pointlimits l ON l.id = r.limits_id
WHERE get_byte(r.statuses, e.position - 1) <> 0
"""

# A row is read for one or few of its positions: in pieces elsewhere it would be put together again for each.
STORAGE = "ALTER TABLE monitors_packedpoints SET (toast_tuple_target = 8160)"

_MEASURE = """
CASE
    WHEN metric IN ('volume_ratio', 'freshness') THEN 'volume'
    WHEN metric IN ('error_rate', 'shadow_drop_rate', 'queue_p95') THEN 'requests'
    WHEN metric IN ('count', 'throughput', 'latency_p50', 'latency_p95', 'latency_p99') THEN 'service'
    WHEN metric IN ('class_precision', 'class_recall', 'class_f1') THEN 'classes'
    WHEN metric IN ('label_coverage_by_class', 'label_lag_p50', 'label_lag_p95') THEN 'labels'
    WHEN metric LIKE 'estimated\\_%' THEN 'estimates'
    WHEN metric LIKE '%\\_gap' THEN 'gaps'
    WHEN metric IN ('domain_auc', 'pca_reconstruction_error') THEN 'joint'
    WHEN metric IN ('drifted_features', 'psi', 'tv', 'js', 'ks', 'wasserstein', 'anderson_darling', 'chi_square')
        THEN 'drift'
    WHEN metric IN (
        'faulty_features', 'missing_share', 'wrong_type_share', 'unseen_share', 'out_of_range_share', 'mode_share'
    ) THEN 'quality'
    ELSE 'performance'
END
"""

# Rows of today are packed as they are: a layout is the exact list of what a window had.
PACK = f"""
CREATE TEMPORARY TABLE packed_point ON COMMIT DROP AS
WITH judged AS (
    SELECT *, {_MEASURE} AS measure, dense_rank() OVER window_of AS place
    FROM monitors_formerpoint
    WINDOW window_of AS (
        PARTITION BY model_id, span, start, role, version, segment, {_MEASURE} ORDER BY metric, feature
    )
), with_limits AS (
    SELECT *,
        CASE WHEN detail ->> 'p_value' IS NOT NULL
            THEN greatest((detail ->> 'p_value')::float8, 1e-37)::real END AS p_value,
        CASE WHEN detail ->> 'decision_p_value' IS NOT NULL
            THEN greatest((detail ->> 'decision_p_value')::float8, 1e-37)::real END AS decision_p_value,
        NOT (status = 'insufficient' AND feature <> '' AND measure IN ('drift', 'quality')) AS is_judged,
        measure IN ('drift', 'quality') AND threshold IS NOT NULL
            AND NOT (status = 'insufficient' AND feature <> '') AS has_limit
    FROM judged
), said AS (
    SELECT *,
        CASE WHEN is_judged
            THEN detail - ARRAY['p_value', 'decided_by', 'decision_p_value']
                - CASE WHEN has_limit THEN ARRAY['why'] ELSE ARRAY[]::text[] END
            ELSE jsonb_strip_nulls(jsonb_build_object('why', detail -> 'why', 'reference', detail -> 'reference'))
        END AS rest
    FROM with_limits
)
SELECT *, CASE WHEN coalesce(rest, '{{}}') <> '{{}}' THEN rest END AS own FROM said;

CREATE TEMPORARY TABLE packed_row ON COMMIT DROP AS
WITH known AS (
    SELECT *, dense_rank() OVER (
        PARTITION BY model_id, span, start, role, version, segment, measure ORDER BY own NULLS LAST
    ) AS kind
    FROM packed_point
)
SELECT
    model_id, span, start, role, version, segment, measure,
    md5(string_agg(metric || chr(1) || feature, chr(2) ORDER BY place)) AS layout,
    array_agg(metric ORDER BY place) AS metrics, array_agg(feature ORDER BY place) AS features,
    mode() WITHIN GROUP (ORDER BY n) AS n, array_agg(n ORDER BY place) AS ns,
    string_agg(
        set_byte('\\x00'::bytea, 0, array_position(ARRAY[{_CODES}], status::text)), ''::bytea ORDER BY place
    ) AS statuses,
    array_agg(CASE WHEN is_judged THEN value END ORDER BY place) AS "values",
    array_agg(CASE WHEN is_judged THEN lower END ORDER BY place) AS lowers,
    array_agg(CASE WHEN is_judged THEN upper END ORDER BY place) AS uppers,
    array_agg(CASE WHEN is_judged THEN threshold END ORDER BY place) AS thresholds,
    jsonb_agg(CASE WHEN has_limit THEN detail -> 'why' END ORDER BY place) AS whys,
    array_agg(CASE WHEN is_judged THEN p_value END ORDER BY place) AS p_values,
    array_agg(
        CASE WHEN is_judged AND ((detail -> 'decides')::text = 'true' OR metric = 'psi') THEN decision_p_value END
        ORDER BY place
    ) AS decision_p_values,
    array_agg(CASE WHEN own IS NOT NULL THEN kind::int2 END ORDER BY place) AS kinds,
    jsonb_agg(DISTINCT own) FILTER (WHERE own IS NOT NULL) AS details,
    max(CASE WHEN status = 'unripe' AND metric = 'label_coverage' THEN detail ->> 'ripe_at' END)::timestamptz AS ripe_at,
    bool_or(status = 'error') AS has_errors,
    max(revision) AS revision, max(updated_at) AS updated_at
FROM known
GROUP BY model_id, span, start, role, version, segment, measure;

CREATE TEMPORARY TABLE packed_layout ON COMMIT DROP AS
SELECT model_id, measure, layout, metrics, features,
    row_number() OVER (PARTITION BY model_id ORDER BY since, measure, layout) AS number
FROM (
    SELECT model_id, measure, layout, min(metrics) AS metrics, min(features) AS features, min(start) AS since
    FROM packed_row GROUP BY model_id, measure, layout
) each_layout;

INSERT INTO monitors_pointname (model_id, layout, position, measure, metric, feature)
SELECT l.model_id, l.number, named.position, l.measure, named.metric, named.feature
FROM packed_layout l, unnest(l.metrics, l.features) WITH ORDINALITY AS named (metric, feature, position);

CREATE TEMPORARY TABLE packed_limits ON COMMIT DROP AS
SELECT model_id, measure, layout, thresholds, whys, nextval('monitors_pointlimits_id_seq') AS id
FROM (
    SELECT DISTINCT model_id, measure, layout, thresholds, whys FROM packed_row
    WHERE measure IN ('drift', 'quality') AND array_remove(thresholds, NULL) <> '{{}}'
) each_limit;

INSERT INTO monitors_pointlimits (id, model_id, digest, thresholds, whys)
SELECT id, model_id, decode(md5('before ' || id), 'hex'), thresholds, whys FROM packed_limits;

INSERT INTO monitors_packedpoints (
    model_id, span, start, role, version, segment, measure, layout, limits_id, n, ns, statuses, "values", lowers,
    uppers, thresholds, p_values, decision_p_values, kinds, details, ripe_at, has_errors, revision, updated_at
)
SELECT
    r.model_id, r.span, r.start, r.role, r.version, r.segment, r.measure, layout.number, limits.id, r.n,
    CASE WHEN array_remove(r.ns, r.n) <> '{{}}' THEN r.ns END,
    r.statuses,
    CASE WHEN array_remove(r."values", NULL) <> '{{}}' THEN r."values" END,
    CASE WHEN array_remove(r.lowers, NULL) <> '{{}}' THEN r.lowers END,
    CASE WHEN array_remove(r.uppers, NULL) <> '{{}}' THEN r.uppers END,
    CASE WHEN limits.id IS NULL AND array_remove(r.thresholds, NULL) <> '{{}}' THEN r.thresholds END,
    CASE WHEN array_remove(r.p_values, NULL) <> '{{}}' THEN r.p_values END,
    CASE WHEN array_remove(r.decision_p_values, NULL) <> '{{}}' THEN r.decision_p_values END,
    CASE WHEN r.details IS NOT NULL THEN r.kinds END,
    r.details, r.ripe_at, r.has_errors, r.revision, r.updated_at
FROM packed_row r
JOIN packed_layout layout USING (model_id, measure, layout)
LEFT JOIN packed_limits limits
    ON (limits.model_id, limits.measure, limits.layout) = (r.model_id, r.measure, r.layout)
    AND limits.thresholds = r.thresholds AND limits.whys = r.whys
ORDER BY r.model_id, r.span, r.start, r.measure;

DROP TABLE monitors_formerpoint;
"""


_POINT_COLUMNS = (
    'model_id, role, version, span, start, "end", metric, feature, segment, value, n, lower, upper, threshold, status, '
    "detail, revision, updated_at"
)

UNPACK = f"""
CREATE TABLE monitors_formerpoint (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    role varchar(10) NOT NULL, version varchar(64) NOT NULL, span varchar(4) NOT NULL,
    start timestamptz NOT NULL, "end" timestamptz NOT NULL, metric varchar(40) NOT NULL, feature varchar(200) NOT NULL,
    segment varchar(200) NOT NULL, value double precision, n integer NOT NULL, lower double precision,
    upper double precision, threshold double precision, status varchar(12) NOT NULL, detail jsonb,
    revision integer NOT NULL, updated_at timestamptz NOT NULL,
    model_id bigint NOT NULL REFERENCES inference_model (id) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT one_point_a_window UNIQUE (model_id, span, metric, feature, segment, role, version, start)
);
CREATE INDEX points_of_a_window ON monitors_formerpoint (model_id, span, start);
CREATE INDEX unripe_points ON monitors_formerpoint (model_id, metric) WHERE status = 'unripe';
INSERT INTO monitors_formerpoint ({_POINT_COLUMNS})
SELECT {_POINT_COLUMNS} FROM monitors_metricpoint
WHERE length(span) <= 4 AND length(status) <= 12 AND (value IS NOT NULL OR status <> 'insufficient' OR feature = '');
DROP VIEW monitors_metricpoint;
SET CONSTRAINTS ALL IMMEDIATE;
"""


class Migration(migrations.Migration):
    """Packs the points of one measure in one window into one row; points are read through a view."""

    dependencies = [("inference", "0020_rows_counted_once"), ("monitors", "0025_words_of_help_texts")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.DeleteModel("MetricPoint")],
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE monitors_metricpoint RENAME TO monitors_formerpoint",
                    "ALTER TABLE monitors_formerpoint RENAME TO monitors_metricpoint",
                )
            ],
        ),
        migrations.CreateModel(
            name="PointLimits",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("digest", models.BinaryField(help_text="of the layout and all below")),
                ("thresholds", monitors.metrics.models.NumbersField("double precision")),
                ("whys", models.JSONField(help_text="a sentence or null by position")),
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
                "verbose_name_plural": "point limits",
            },
        ),
        migrations.CreateModel(
            name="PackedPoints",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("start", models.DateTimeField()),
                (
                    "ripe_at",
                    models.DateTimeField(
                        help_text="when labels that are still coming may be judged", null=True
                    ),
                ),
                ("updated_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "revision",
                    models.IntegerField(default=1, help_text="grows when late data changed a value"),
                ),
                ("n", models.IntegerField()),
                ("has_errors", models.BooleanField(default=False)),
                ("span", models.CharField(max_length=8)),
                ("role", models.CharField(max_length=10)),
                ("version", models.CharField(blank=True, max_length=64)),
                ("segment", models.CharField(blank=True, max_length=200)),
                ("measure", models.CharField(max_length=12)),
                ("statuses", models.BinaryField(help_text="a byte each, see STATUS_CODES")),
                ("values", monitors.metrics.models.NumbersField("double precision", null=True)),
                (
                    "ns",
                    monitors.metrics.models.NumbersField(
                        "integer", help_text="where it is not `n`", null=True
                    ),
                ),
                ("lowers", monitors.metrics.models.NumbersField("double precision", null=True)),
                ("uppers", monitors.metrics.models.NumbersField("double precision", null=True)),
                (
                    "thresholds",
                    monitors.metrics.models.NumbersField(
                        "double precision", help_text="where they are not in `limits`", null=True
                    ),
                ),
                ("p_values", monitors.metrics.models.NumbersField("real", null=True)),
                ("decision_p_values", monitors.metrics.models.NumbersField("real", null=True)),
                (
                    "kinds",
                    monitors.metrics.models.NumbersField(
                        "smallint", help_text="places in `details`, from 1", null=True
                    ),
                ),
                ("details", models.JSONField(help_text="what only some points say, each once", null=True)),
                ("detail", models.JSONField(help_text="what all points say", null=True)),
                (
                    "model",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="inference.model",
                    ),
                ),
                ("layout", models.IntegerField(help_text="of the model, see PointName")),
                (
                    "limits",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="monitors.pointlimits",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "packed points",
            },
        ),
        migrations.CreateModel(
            name="PointName",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "model_id",
                        "layout",
                        "position",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("layout", models.IntegerField()),
                ("position", models.IntegerField()),
                ("measure", models.CharField(max_length=12)),
                ("metric", models.CharField(max_length=40)),
                ("feature", models.CharField(blank=True, max_length=200)),
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
        ),
        migrations.AddConstraint(
            model_name="pointlimits",
            constraint=models.UniqueConstraint(fields=("model", "digest"), name="limits_once_a_model"),
        ),
        migrations.AddIndex(
            model_name="packedpoints",
            index=models.Index(fields=["model", "span", "start"], name="packed_points_of_a_window"),
        ),
        migrations.AddIndex(
            model_name="packedpoints",
            index=models.Index(
                condition=models.Q(("ripe_at__isnull", False)),
                fields=["model", "ripe_at"],
                name="unripe_windows",
            ),
        ),
        migrations.AddConstraint(
            model_name="packedpoints",
            constraint=models.UniqueConstraint(
                fields=("model", "span", "role", "version", "segment", "measure", "start"),
                name="points_once_a_window",
            ),
        ),
        migrations.AddIndex(
            model_name="pointname",
            index=models.Index(fields=["model", "metric", "feature"], name="names_of_a_metric"),
        ),
        migrations.RunSQL(STORAGE, migrations.RunSQL.noop),
        migrations.RunSQL(PACK, migrations.RunSQL.noop),
        migrations.RunSQL(VIEW, UNPACK),
        migrations.CreateModel(
            "MetricPoint",
            fields=[("id", models.BigIntegerField(primary_key=True))],  # the others are the view's
            options={"managed": False, "db_table": "monitors_metricpoint"},
        ),
    ]
