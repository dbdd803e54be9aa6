"""Sizes on disk, noted every hour: growth is the difference of two of them, with what retention deleted taken off."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection

from driftline.operations.models import DiskSample
from driftline.operations.services.paths import home_paths
from inference.prediction_log.models import Label, PredictionChunk, PredictionRow
from monitors.metrics.store.models import PackedPoints
from monitors.summaries.models import Summary

KEPT = timedelta(days=7)
"""Growth is that of a week, of which each day has the same share however traffic differs between them."""
MIN_OVER = timedelta(hours=1)  # of less, growth is what packing and vacuum happen to do
_LOG = [table._meta.db_table for table in (PredictionChunk, PredictionRow, Label)]
_SUMMARIES = [table._meta.db_table for table in (Summary, PackedPoints)]
_SIZES = """
    WITH sizes AS (
        SELECT name, coalesce(
            (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(name::regclass)),
            pg_total_relation_size(name::regclass)
        ) AS bytes FROM unnest(%(log)s || %(summaries)s) AS name
    )
    SELECT
        pg_database_size(current_database()),
        (SELECT sum(bytes)::bigint FROM sizes WHERE name = ANY(%(log)s)),
        (SELECT sum(bytes)::bigint FROM sizes WHERE name = ANY(%(summaries)s))
"""


def measure_disk(moment: datetime) -> DiskSample:
    """Return the sizes as they are, which is not stored."""
    with connection.cursor() as cursor:
        cursor.execute(_SIZES, {"log": _LOG, "summaries": _SUMMARIES})
        database, log, summaries = cursor.fetchone()
    folder = database_folder()
    return DiskSample(
        at=moment,
        database_bytes=database,
        log_bytes=log,
        summary_bytes=summaries,
        home_free_bytes=shutil.disk_usage(settings.HOME).free,
        database_free_bytes=shutil.disk_usage(folder).free if folder else None,
    )


def record_disk(moment: datetime) -> None:
    """Store the sizes as they are, and forget those that no growth is compared with."""
    measure_disk(moment).save()
    DiskSample.objects.filter(at__lt=moment - KEPT).delete()


def database_folder() -> Path | None:
    """Return the folder in which our own PostgreSQL keeps its data; None where the server is somebody else's."""
    folder = home_paths(settings.HOME).postgres_data
    return folder if not settings.DATABASE_URL and folder.is_dir() else None
