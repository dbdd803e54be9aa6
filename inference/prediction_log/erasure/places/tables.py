"""Erases a subject's rows from stored tables: references that people uploaded, and snapshots that runs learn from.

A reference's row is the subject's where its id is, or where a feature that names people is the key. A snapshot has no
ids: its rows are known by the version that answered and the microsecond of the event.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from django.conf import settings

from inference.prediction_log.erasure.subject import Subject
from inference.prediction_log.erasure.work import Work, add_counts
from inference.prediction_log.spool.privacy import DROP
from inference.registry.files.datasets import path_of, write_table
from inference.registry.models import Dataset
from inference.registry.selectors import privacy_of
from inference.registry.signals import dataset_rewritten


def erase_from_tables(work: Work) -> None:
    """Write the data sets of the project anew that hold such rows."""
    _delete_orphaned_files(work)
    datasets = Dataset.objects.filter(model__project=work.project).order_by("pk")
    for dataset in datasets.filter(pk__gt=work.progress.get("table", 0)):
        work.check_deadline()
        if path_of(dataset).exists():
            holders = list(datasets.filter(path=dataset.path))
            table = pq.read_table(path_of(dataset))
            erased = rows_of_subject(table, work.subject, {holder.model_id for holder in holders})
            if erased.any():
                _rewrite(work, holders, table.filter(pa.array(~erased)), int(erased.sum()))
        work.progress["table"] = dataset.pk


def rows_of_subject(
    table: pa.Table, subject: Subject, model_ids: Iterable[int], *, by_time_alone: bool = False
) -> np.ndarray:
    """Mark the rows of a table that are the subject's.

    What a run made of its snapshot no longer says which version answered: there it goes `by_time_alone`.
    """
    erased = np.zeros(table.num_rows, bool)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name == "id":
            erased |= _is_in(column.cast(pa.string()), sorted(subject.ids))
        elif pa.types.is_string(column.type) and any(_is_named_in(subject, pk, name) for pk in model_ids):
            erased |= _is_in(column, [subject.key])
    time = next((name for name in ("timestamp", "time") if name in table.column_names), None)
    if time is None or not (by_time_alone or "version_id" in table.column_names):
        return erased
    times = table[time].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    answered = None if by_time_alone else table["version_id"].to_numpy().astype(np.float64)
    for model_id, version_id in {(row.model_id, row.version_id) for row in subject.rows}:
        if model_id in model_ids:
            events = [row.time_us for row in subject.rows if row.version_id == version_id]
            erased |= np.isin(times, events) & _is_by(version_id, answered)
    return erased


def _is_named_in(subject: Subject, model_id: int, feature: str) -> bool:
    """Return whether the key means the subject in a feature; of one that is dropped no row could tell."""
    is_dropped = privacy_of(model_id).of(feature) == DROP
    return subject.is_named_in(model_id, feature) or (is_dropped and subject.is_unmistakable)


def _is_by(version_id: int, answered: np.ndarray | None) -> np.ndarray | bool:
    """Return which rows a version answered; rows of a snapshot that come from a reference name none (NaN)."""
    return True if answered is None else (answered == version_id) | np.isnan(answered)


def _is_in(column: pa.ChunkedArray, values: list[str]) -> np.ndarray:
    found: np.ndarray = pc.is_in(column, value_set=pa.array(values, pa.string())).to_numpy()
    return found


def _rewrite(work: Work, holders: list[Dataset], table: pa.Table, erased: int) -> None:
    """Put a table under the name of its new content, and delete the old file."""
    old = holders[0].path
    path, sha256 = write_table(table)
    with work.fenced() as erasure:
        for dataset in holders:
            dataset.path, dataset.sha256 = str(path.relative_to(settings.HOME)), sha256
            dataset.rows = table.num_rows
            dataset.save(update_fields=["path", "sha256", "rows"])
            dataset_rewritten.send(sender=Dataset, dataset=dataset)
        work.progress.setdefault("old_tables", []).append(old)
        add_counts(erasure, {"table_rows": erased})
    _delete_orphaned_files(work)


def _delete_orphaned_files(work: Work) -> None:
    """Remove the files that were written anew, unless another data set is the same file."""
    for old in work.progress.pop("old_tables", []):
        if not Dataset.objects.filter(path=old).exists():
            (settings.HOME / old).unlink(missing_ok=True)
