"""The step `snapshot`: freeze the labelled rows that the run learns from, and set the newest aside for validation."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftline.base.periods import EPOCH, from_us, rfc3339, to_us
from inference.prediction_log.models import ANSWERING_ROLES
from inference.prediction_log.queries.selectors import frame_of
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.prediction_log.spool.privacy import KEEP, policy_of
from inference.registry.files.datasets import path_of, store_table
from inference.registry.models import Dataset
from monitors.definitions.models import Reference
from monitors.workflows.context import Evidence, RunContext, StepFailed, StepOutcome, done
from monitors.workflows.models import Run
from monitors.workflows.starting.snapshots import (
    HOLDOUT,
    TRAIN,
    from_log,
    from_reference,
    holdout_start,
    keep_known_labels,
    times_us,
)


def snapshot(context: RunContext) -> StepOutcome:
    """Store the champion's labelled rows up to `data_until`, after the rows that it was first trained on."""
    refuse_without_rows(context.model, "A run")
    _refuse_hidden_features(context)
    logged, asked = _logged_rows(context)
    table = pa.concat_tables([_reference_rows(context, logged), logged])
    table, unknown = keep_known_labels(table, context.signature)
    if table.num_rows < context.workflow.min_training_rows:
        raise StepFailed(
            f"{table.num_rows:,} labelled rows up to {rfc3339(context.run.data_until)}; the workflow asks for "
            f"{context.workflow.min_training_rows:,} (min_training_rows)."
        )
    times = times_us(table)
    cut = holdout_start(times)
    held_out = times >= cut
    table = table.append_column("split", pa.array(np.where(held_out, HOLDOUT, TRAIN)))
    evidence = {
        "rows": table.num_rows,
        "from_log": logged.num_rows,
        "from_reference": table.num_rows + unknown - logged.num_rows,
        "unknown_labels": unknown,
        "label_share": logged.num_rows / asked if asked else None,
        "start": rfc3339(from_us(int(times.min()))),
        "end": rfc3339(context.run.data_until),
        "training_rows": int((~held_out).sum()),
        "holdout_rows": int(held_out.sum()),
        "holdout_start": rfc3339(from_us(int(cut))),
    }

    def keep(run: Run) -> Evidence:
        dataset = store_table(model=context.model, version=None, kind="snapshot", table=table)
        return {"dataset": dataset.pk, "sha256": dataset.sha256}

    return done(evidence, effect=keep)


def _refuse_hidden_features(context: RunContext) -> None:
    """A challenger would learn from hashes, or from nothing, and be asked with what callers send."""
    taken = sorted(feature.name for feature in context.signature.features)
    if hidden := [name for name in taken if policy_of(context.model.privacy, name) != KEEP]:
        raise StepFailed(
            f"The log keeps {hidden[0]!r} as a hash or not at all, and the model takes it as it is sent; "
            "train elsewhere and upload the version, or keep the feature."
        )


def _start(context: RunContext) -> datetime:
    days = context.workflow.training_days
    return context.run.data_until - timedelta(days=days) if days else EPOCH


def _logged_rows(context: RunContext) -> tuple[pa.Table, int]:
    """The labelled rows that callers were answered in the training window, and how many with or without a label."""
    frame = frame_of(
        model=context.model, start=_start(context), end=context.run.data_until, role=ANSWERING_ROLES
    )
    return from_log(frame.take(frame.is_labelled & frame.is_whole), context.signature), len(frame)


def _reference_rows(context: RunContext, logged: pa.Table) -> pa.Table:
    """The labelled rows of the champion's reference that are older than the log: first training data."""
    empty = logged.slice(0, 0)
    dataset = _reference_dataset(context)
    if dataset is None or "label" not in dataset.columns:
        return empty
    first_us = int(times_us(logged).min()) if logged.num_rows else None
    end_us = first_us or to_us(context.run.data_until)
    rows = from_reference(pq.read_table(path_of(dataset)), context.signature, end_us=end_us)
    start_us = to_us(_start(context))
    times = times_us(rows)
    return rows.filter(pa.array((times >= start_us) & (times < end_us)))


def _reference_dataset(context: RunContext) -> Dataset | None:
    reference = (
        Reference.objects.filter(
            model=context.model, version=context.run.champion, is_active=True, kind=Reference.Kind.FILE
        )
        .select_related("dataset")
        .first()
    )
    if reference is not None:
        return reference.dataset
    stored = Dataset.objects.filter(model=context.model, version=context.run.champion, kind="reference")
    return stored.order_by("-created_at").first()
