"""What must hold whatever was killed and when: counted, not assumed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import connection

from inference.prediction_log.models import SpoolCursor
from inference.prediction_log.spool import open_spools


@dataclass(frozen=True)
class Invariant:
    """A statement with the counts that show whether it holds."""

    statement: str
    counts: str
    holds: bool


def check_all() -> Iterator[Invariant]:
    """Check every invariant over the whole installation."""
    yield _spool_is_drained(settings.HOME)
    for statement, sql in _EQUAL_COUNTS.items():
        left, right = _row(sql)
        yield Invariant(statement, f"{left:,} and {right:,}", left == right)
    for statement, sql in _NOTHING.items():
        (found,) = _row(sql)
        yield Invariant(statement, f"{found:,} exceptions", found == 0)


_EQUAL_COUNTS = {
    "every prediction has one narrow row and one place in a chunk": """
        SELECT (SELECT count(*) FROM inference_predictionrow),
               (SELECT coalesce(sum(rows), 0) FROM inference_predictionchunk)""",
    "hourly summaries hold every prediction whose hour is not being worked on": """
        WITH idle AS (
            SELECT r.model_id, r.version_id, r.role, date_trunc('hour', r.event_time, 'UTC') AS hour, count(*) AS n
            FROM inference_predictionrow r GROUP BY 1, 2, 3, 4),
        due AS (SELECT model_id, version_id, role, hour FROM inference_touchedperiod)
        SELECT (SELECT coalesce(sum(n), 0) FROM idle
                WHERE NOT EXISTS (SELECT 1 FROM due WHERE due.model_id = idle.model_id
                    AND due.version_id = idle.version_id AND due.role = idle.role AND due.hour = idle.hour)),
               (SELECT coalesce(sum(s.rows), 0) FROM monitors_summary s WHERE span = 'hour' AND segment = ''
                AND NOT EXISTS (SELECT 1 FROM due WHERE due.model_id = s.model_id
                    AND due.version_id = s.version_id AND due.role = s.role AND due.hour = s.start))""",
    "daily summaries hold what their hours hold": """
        SELECT coalesce(sum(rows) FILTER (WHERE span = 'hour'), 0), coalesce(sum(rows) FILTER (WHERE span = 'day'), 0)
        FROM monitors_summary""",
    "labelled rows in daily summaries are the labels that found their prediction": """
        SELECT (SELECT count(*) FROM inference_label l JOIN inference_predictionrow r
                ON r.model_id = l.model_id AND r.prediction_id = l.prediction_id AND r.role = 'champion'
                WHERE l.is_current AND NOT EXISTS (SELECT 1 FROM inference_touchedperiod t
                    WHERE t.model_id = l.model_id AND t.hour = date_trunc('hour', r.event_time, 'UTC'))),
               (SELECT coalesce(sum(labelled), 0) FROM monitors_summary s
                WHERE span = 'hour' AND segment = '' AND role = 'champion' AND NOT EXISTS (
                    SELECT 1 FROM inference_touchedperiod t WHERE t.model_id = s.model_id AND t.hour = s.start))""",
}

_NOTHING = {
    "no prediction was answered twice": """
        SELECT count(*) FROM (SELECT 1 FROM inference_predictionrow WHERE role <> 'shadow'
        GROUP BY model_id, prediction_id HAVING count(*) > 1) AS doubled""",
    "no shadow answered a prediction twice": """
        SELECT count(*) FROM (SELECT 1 FROM inference_predictionrow WHERE role = 'shadow'
        GROUP BY model_id, prediction_id, version_id HAVING count(*) > 1) AS doubled""",
    "no label waits for a prediction that is there": """
        SELECT count(*) FROM inference_label l JOIN inference_predictionrow r
        ON r.model_id = l.model_id AND r.prediction_id = l.given_id AND r.role <> 'shadow'
        WHERE l.prediction_id = ''""",
    "no id has two current labels": """
        SELECT count(*) FROM (SELECT 1 FROM inference_label WHERE is_current
        GROUP BY model_id, given_id HAVING count(*) > 1) AS doubled""",
    "no rule has two unresolved incidents": """
        SELECT count(*) FROM (SELECT 1 FROM monitors_incident WHERE status <> 'resolved'
        GROUP BY rule_id, model_id HAVING count(*) > 1) AS doubled""",
    "no model has two active runs": """
        SELECT count(*) FROM (SELECT 1 FROM monitors_run WHERE state IN ('queued', 'running', 'waiting')
        GROUP BY model_id HAVING count(*) > 1) AS doubled""",
    "no run registered two versions": """
        SELECT count(*) FROM (SELECT 1 FROM inference_version WHERE lineage ? 'run'
        GROUP BY lineage ->> 'run' HAVING count(*) > 1) AS doubled""",
    "every firing that was handled has its incident": """
        SELECT count(*) FROM monitors_transition t WHERE t.kind = 'opened' AND t.alerts_done_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM monitors_incident i WHERE i.rule_id = t.rule_id)""",
}


def _row(sql: str) -> tuple[int, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        row = cursor.fetchone()
    assert row is not None
    return tuple(int(value) for value in row)


def _spool_is_drained(home: Path) -> Invariant:
    """Count records that serving processes acknowledged and the log does not hold yet."""
    waiting = 0
    for reader in open_spools(home):
        cursor = SpoolCursor.objects.filter(name=reader.name).first() or SpoolCursor(name=reader.name)
        batches, _, _ = reader.read(cursor.segment, cursor.offset, 1 << 30)
        waiting += sum(len(batch.ids) for batch in batches)
    return Invariant("the spool is drained into the log", f"{waiting:,} rows wait", waiting == 0)
