"""What must hold whatever was killed and when: counted, not assumed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import connection

from driftline.base.accounts.audit.chain import check_chain
from driftline.operations.given_up import given_up
from driftline.operations.stuck_work import count_failed
from inference.prediction_log.encryption.key_health import look_at_keys
from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged
from inference.prediction_log.models import PredictionChunk, SpoolCursor
from inference.prediction_log.spool.record import LoggedBatch
from inference.prediction_log.spool.sealing import KeyMissing
from inference.prediction_log.spool.segments import open_spools
from inference.prediction_log.storage.damaged_chunks import find_damaged
from inference.prediction_log.storage.folded_labels import FoldedLabels
from inference.prediction_log.storage.id_hashes import read_hashes
from monitors.summaries.checking import compare_with_rows

SUMMARIES_COMPARED = 50
MAX_NAMED = 20  # of the chunks that are damaged


@dataclass(frozen=True)
class Invariant:
    """A statement with the counts that show whether it holds."""

    statement: str
    counts: str
    holds: bool


def check_all() -> Iterator[Invariant]:
    """Check every invariant over the whole installation."""
    yield _spool_is_drained(settings.HOME)
    yield _audit_is_whole(settings.HOME)
    yield _hashes_are_sorted()
    yield _seals_have_keys(settings.HOME)
    yield _chunks_open()
    yield _labels_have_rows()
    yield _summaries_equal_rows()
    failed = count_failed()
    yield Invariant(
        "nothing of a model failed to be summarised, measured or judged",
        f"{failed:,} exceptions",
        failed == 0,
    )
    yield _no_work_was_given_up()
    for statement, sql in _EQUAL_COUNTS.items():
        left, right = _row(sql)
        yield Invariant(statement, f"{left:,} and {right:,}", left == right)
    for statement, sql in _NOTHING.items():
        (found,) = _row(sql)
        yield Invariant(statement, f"{found:,} exceptions", found == 0)


_OLDEST_WEEK = """(SELECT min(right(relname, 8)::date) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'inference_predictionrow'::regclass)"""
_EQUAL_COUNTS = {
    "every prediction of the weeks that have narrow rows has one, and one place in a chunk or in a summed day": f"""
        SELECT (SELECT count(*) FROM inference_predictionrow),
               (SELECT coalesce(sum(rows), 0) FROM inference_predictionchunk WHERE week >= {_OLDEST_WEEK})
             + (SELECT coalesce(sum(rows), 0) FROM inference_summedday WHERE week >= {_OLDEST_WEEK})""",
    "daily summaries hold every prediction whose day is not being worked on, but those that are kept by the month": """
        WITH logged AS (
            SELECT model_id, version_id, role, day, rows FROM inference_predictionchunk
            UNION ALL SELECT model_id, version_id, role, day, rows FROM inference_summedday AS gone
            WHERE day >= (SELECT min(start AT TIME ZONE 'UTC')::date FROM monitors_summary AS kept
                WHERE kept.model_id = gone.model_id)),
        months AS (
            SELECT model_id, version_id, role, (start AT TIME ZONE 'UTC')::date AS month
            FROM monitors_summary WHERE span = 'month' AND segment = ''),
        idle AS (
            SELECT model_id, version_id, role, day, sum(rows) AS n FROM (
                SELECT logged.* FROM logged LEFT JOIN months
                ON (months.model_id, months.version_id, months.role, months.month)
                 = (logged.model_id, logged.version_id, logged.role, date_trunc('month', logged.day::timestamp)::date)
                WHERE months.month IS NULL) AS c
            WHERE NOT EXISTS (SELECT 1 FROM inference_touchedperiod AS due WHERE due.model_id = c.model_id
                AND due.version_id = c.version_id AND due.role = c.role
                AND (due.hour AT TIME ZONE 'UTC')::date = c.day)
            GROUP BY 1, 2, 3, 4),
        summed AS (
            SELECT model_id, version_id, role, (start AT TIME ZONE 'UTC')::date AS day, sum(rows) AS n
            FROM monitors_summary WHERE span = 'day' AND segment = '' GROUP BY 1, 2, 3, 4)
        SELECT coalesce(sum(idle.n), 0), coalesce(sum(summed.n), 0)
        FROM idle LEFT JOIN summed USING (model_id, version_id, role, day)""",
    "daily summaries hold what their hours hold, as long as these are kept": """
        SELECT coalesce(sum(of_hours), 0), coalesce(sum(of_day), 0) FROM (
            SELECT sum(rows) FILTER (WHERE span = 'hour') AS of_hours, sum(rows) FILTER (WHERE span = 'day') AS of_day
            FROM monitors_summary WHERE span IN ('hour', 'day')
            GROUP BY model_id, version_id, role, (start AT TIME ZONE 'UTC')::date) AS told
        WHERE of_hours IS NOT NULL""",
    "labelled rows in daily summaries are the labels that found their prediction": f"""
        WITH narrow AS (SELECT model_id, day FROM inference_predictionchunk AS c
            WHERE NOT EXISTS (SELECT FROM inference_summedday AS gone
                WHERE gone.model_id = c.model_id AND gone.day = c.day)
            GROUP BY 1, 2 HAVING min(week) >= {_OLDEST_WEEK}),
        -- Grouped instead of joined: where the tables were never analysed, the planner joins them row by row.
        found AS (SELECT model_id, id, max(event_time) AS event_time FROM (
                SELECT model_id, prediction_id AS id, event_time, 0 AS labels FROM inference_predictionrow
                WHERE role IN ('champion', 'canary')
                UNION ALL SELECT model_id, coalesce(nullif(prediction_id, ''), given_id), NULL, 1 FROM inference_label
                WHERE is_current AND prediction_time IS NOT NULL) AS told
            GROUP BY 1, 2 HAVING min(labels) = 0 AND max(labels) = 1)
        SELECT (SELECT count(*) FROM found JOIN narrow
                ON narrow.model_id = found.model_id AND narrow.day = (found.event_time AT TIME ZONE 'UTC')::date
                WHERE NOT EXISTS (SELECT 1 FROM inference_touchedperiod t
                    WHERE t.model_id = narrow.model_id AND (t.hour AT TIME ZONE 'UTC')::date = narrow.day)),
               (SELECT coalesce(sum(labelled), 0) FROM monitors_summary s
                JOIN narrow ON narrow.model_id = s.model_id AND narrow.day = (s.start AT TIME ZONE 'UTC')::date
                WHERE span = 'day' AND segment = '' AND role IN ('champion', 'canary') AND NOT EXISTS (
                    SELECT 1 FROM inference_touchedperiod t
                    WHERE t.model_id = narrow.model_id AND (t.hour AT TIME ZONE 'UTC')::date = narrow.day))""",
}

_NOTHING = {
    "no packed chunk holds other rows than its packed day says": """
        SELECT count(*) FROM (
            SELECT model_id, version_id, role, day, week, sum(rows) AS rows, min(start) AS start, max("end") AS "end"
            FROM inference_predictionchunk WHERE is_packed GROUP BY 1, 2, 3, 4, 5) AS held
        FULL JOIN inference_packedday AS said USING (model_id, version_id, role, day, week)
        WHERE (held.rows, held.start, held."end") IS DISTINCT FROM (said.rows, said.start, said."end")""",
    "every unsummarised chunk belongs to a touched day": """
        SELECT count(*) FROM inference_predictionchunk AS chunk WHERE NOT is_summarised AND NOT EXISTS (
            SELECT FROM inference_touchedperiod AS due
            WHERE (due.model_id, due.version_id, due.role) = (chunk.model_id, chunk.version_id, chunk.role)
            AND (due.hour AT TIME ZONE 'UTC')::date = chunk.day)""",
    "no chunk reaches into another day": """
        SELECT count(*) FROM inference_predictionchunk
        WHERE day <> (start AT TIME ZONE 'UTC')::date OR day <> ("end" AT TIME ZONE 'UTC')::date""",
    "no prediction was answered twice": """
        SELECT count(*) FROM (SELECT 1 FROM inference_predictionrow WHERE role <> 'shadow'
        GROUP BY model_id, prediction_id HAVING count(*) > 1) AS doubled""",
    "no shadow answered a prediction twice": """
        SELECT count(*) FROM (SELECT 1 FROM inference_predictionrow WHERE role = 'shadow'
        GROUP BY model_id, prediction_id, version_id HAVING count(*) > 1) AS doubled""",
    "no label waits for a prediction that is there": """
        SELECT count(*) FROM inference_label l JOIN inference_predictionrow r
        ON r.model_id = l.model_id AND r.prediction_id = l.given_id AND r.role <> 'shadow'
        WHERE l.prediction_time IS NULL""",
    "no label has joined a prediction of a day that is not there": """
        SELECT count(*) FROM (SELECT DISTINCT model_id, (prediction_time AT TIME ZONE 'UTC')::date AS day
            FROM inference_label WHERE prediction_time IS NOT NULL AND is_current) AS labelled
        WHERE NOT EXISTS (SELECT FROM inference_predictionchunk AS c
            WHERE c.model_id = labelled.model_id AND c.day = labelled.day AND c.role <> 'shadow')
        AND NOT EXISTS (SELECT FROM inference_summedday AS gone
            WHERE gone.model_id = labelled.model_id AND gone.day = labelled.day)""",
    "no month that is kept without its days holds fewer predictions than are known of these": """
        SELECT count(*) FROM monitors_summary AS kept WHERE span = 'month' AND segment = '' AND rows < (
            SELECT coalesce(sum(gone.rows), 0) FROM inference_summedday AS gone
            WHERE (gone.model_id, gone.version_id, gone.role) = (kept.model_id, kept.version_id, kept.role)
            AND date_trunc('month', gone.day::timestamp) = (kept.start AT TIME ZONE 'UTC'))""",
    "no day is summarised beside the month that stands for it": """
        SELECT count(*) FROM monitors_summary AS kept JOIN monitors_summary AS short
        USING (model_id, version_id, role, segment)
        WHERE kept.span = 'month' AND short.span IN ('hour', 'day')
        AND date_trunc('month', short.start AT TIME ZONE 'UTC') = (kept.start AT TIME ZONE 'UTC')""",
    "no label and no narrow row belongs to a model that is gone": """
        SELECT (SELECT count(*) FROM inference_label WHERE model_id NOT IN (SELECT id FROM inference_model))
             + (SELECT count(*) FROM inference_predictionrow WHERE model_id NOT IN (SELECT id FROM inference_model))""",
    "no id has two current labels": """
        SELECT count(*) FROM (SELECT 1 FROM inference_label WHERE is_current
        GROUP BY model_id, given_id HAVING count(*) > 1) AS doubled""",
    "no fresh chunk arrived in a week whose narrow rows are gone": f"""
        SELECT count(*) FROM inference_predictionchunk WHERE NOT is_packed AND week < {_OLDEST_WEEK}""",
    "no rule has two alerts that fire": """
        SELECT count(*) FROM (SELECT 1 FROM monitors_alert WHERE state = 'firing' AND rule_id IS NOT NULL
        GROUP BY rule_id HAVING count(*) > 1) AS doubled""",
    "an incident is unresolved exactly while an alert of it fires": """
        SELECT count(*) FROM monitors_incident i WHERE (i.status <> 'resolved') <> EXISTS (
        SELECT 1 FROM monitors_alert a WHERE a.incident_id = i.id AND a.state = 'firing')""",
    "no model has two active runs": """
        SELECT count(*) FROM (SELECT 1 FROM monitors_run WHERE state IN ('queued', 'running', 'waiting')
        GROUP BY model_id HAVING count(*) > 1) AS doubled""",
    "no run registered two versions": """
        SELECT count(*) FROM (SELECT 1 FROM inference_version WHERE lineage ? 'run'
        GROUP BY lineage ->> 'run' HAVING count(*) > 1) AS doubled""",
    "every firing that was handled has its alert": """
        SELECT count(*) FROM monitors_transition t WHERE t.kind = 'opened' AND t.alerts_done_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM monitors_alert a WHERE a.rule_id = t.rule_id)""",
}


def _row(sql: str) -> tuple[int, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        row = cursor.fetchone()
    assert row is not None
    return tuple(int(value) for value in row)


def _hashes_are_sorted() -> Invariant:
    """Look at every chunk's id hashes; a chunk needs them from the day on which its narrow rows go."""
    chunks = PredictionChunk.objects.filter(is_packed=True).values_list("rows", "id_hashes")
    wrong = checked = 0
    for rows, stored in chunks.iterator(chunk_size=100):
        checked += 1
        hashes = read_hashes(stored or b"")
        wrong += len(hashes) < rows or bool((hashes[1:] < hashes[:-1]).any())
    return Invariant(
        "every packed chunk carries sorted hashes of its ids", f"{wrong:,} of {checked:,} do not", wrong == 0
    )


def _chunks_open() -> Invariant:
    """Open every chunk, and name those that do not hold what was written."""
    found = list(find_damaged())
    damaged = [name for name in found if name is not None]
    counts = f"{len(damaged):,} of {len(found):,} do not"
    if damaged:
        counts += f": {', '.join(damaged[:MAX_NAMED])}" + (" and others" if len(damaged) > MAX_NAMED else "")
    return Invariant("every chunk of the log opens and holds its rows", counts, not damaged)


def _labels_have_rows() -> Invariant:
    """Look at every chunk's labels: each has a row in it, and a prediction has one that holds under each id."""
    chunks = PredictionChunk.objects.filter(is_packed=True, labels__isnull=False)
    wrong = checked = 0
    for rows, stored in chunks.values_list("rows", "labels").iterator(chunk_size=100):
        try:
            labels = FoldedLabels.read(stored)
        except ChunkDamaged:
            continue  # named by `_chunks_open`
        clients = labels.table.column("client_id").to_pylist()
        current_labels = zip(labels.places.tolist(), clients, labels.is_current.tolist(), strict=True)
        holding = [(place, client) for place, client, holds in current_labels if holds]
        checked += len(labels)
        wrong += int((labels.places >= rows).sum()) + len(holding) - len(set(holding))
    return Invariant(
        "every label in a packed chunk has a row there, and one holds under each id",
        f"{wrong:,} of {checked:,} have not",
        wrong == 0,
    )


def _summaries_equal_rows() -> Invariant:
    """Compute the summaries of some hours from their rows, and compare them with the stored ones."""
    comparisons = list(compare_with_rows(SUMMARIES_COMPARED))
    differences = [difference for difference in comparisons if difference is not None]
    counts = f"{len(differences):,} of {len(comparisons):,} compared hours do not"
    return Invariant(
        "summaries equal what their rows give",
        counts + (f": {differences[0]}" if differences else ""),
        not differences,
    )


def _seals_have_keys(home: Path) -> Invariant:
    """Look at the key of every sealed chunk."""
    health = look_at_keys(home)
    lost = sum(health.lost_chunks.values())
    return Invariant(
        "every sealed chunk names a key that opens", f"{lost:,} of {health.sealed_chunks:,} do not", lost == 0
    )


def _audit_is_whole(home: Path) -> Invariant:
    """Compute the hash chain of the audit trail anew."""
    report = check_chain(home)
    return Invariant(
        "no audit entry was changed or removed since it was written",
        report.broken or f"{report.sealed:,} of {report.entries:,} entries are in the chain",
        not report.broken,
    )


def _no_work_was_given_up() -> Invariant:
    """Count the long work that nobody goes on with, and say the first reason."""
    pieces = given_up()
    reason = f": {pieces[0].subject}: {pieces[0].reason}" if pieces else ""
    return Invariant("no background work was given up", f"{len(pieces):,} exceptions{reason}", not pieces)


def _spool_is_drained(home: Path) -> Invariant:
    """Count records that serving processes acknowledged and the log does not hold yet."""
    waiting = locked = 0
    for reader in open_spools(home):
        cursor = SpoolCursor.objects.filter(name=reader.name).first() or SpoolCursor(name=reader.name)
        try:
            records, _, _ = reader.read(cursor.segment, cursor.offset, 1 << 30)
        except KeyMissing:
            locked += 1
            continue
        waiting += sum(len(record.ids) for record in records if isinstance(record, LoggedBatch))
    counts = f"{waiting:,} rows wait" + (f", {locked:,} spools wait for their key" if locked else "")
    return Invariant("the spool is drained into the log", counts, waiting == locked == 0)
