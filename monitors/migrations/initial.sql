-- Numbers of events of the feed, given when they are read.
CREATE SEQUENCE monitors_feed_number AS bigint;

-- A row of points is read for one or few of its positions: stored in pieces elsewhere, it would be put together again
-- for each.
ALTER TABLE monitors_packedpoints SET (toast_tuple_target = 8160);

-- Metric points, one a row, as they lie in monitors_packedpoints.
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
    (ARRAY[
        'ok', 'warning', 'critical', 'insufficient', 'unripe', 'unreliable', 'no_data', 'error', 'not_informative'
    ])[get_byte(r.statuses, e.position - 1)] AS status,
    nullif(
        jsonb_strip_nulls(jsonb_build_object(
            'p_value', r.p_values[e.position],
            'decision_p_value', r.decision_p_values[e.position],
            'why', l.whys -> (e.position - 1)
        ))
        || coalesce(r.details -> (r.kinds[e.position] - 1), '{}')
        || coalesce(r.detail, '{}'),
        '{}'
    ) AS detail,
    r.revision, r.updated_at
FROM monitors_packedpoints r
JOIN monitors_pointname e ON e.model_id = r.model_id AND e.layout = r.layout AND e.measure = r.measure
LEFT JOIN monitors_pointlimits l ON l.id = r.limits_id
WHERE get_byte(r.statuses, e.position - 1) <> 0;
