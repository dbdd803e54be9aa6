"""The step `validate`: the challenger against the champion on the newest labelled rows, which the trainer never saw."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from driftline.base.periods import DAY_US
from inference.registry.files.datasets import path_of
from inference.registry.models import Dataset
from inference.signatures import Signature
from monitors.definitions.outcomes import coded
from monitors.stats.promotion.gate import judge
from monitors.stats.promotion.paired import PairedComparison, compare_pairs
from monitors.workflows.context import RunContext, StepOutcome, done, rejected, to_json
from monitors.workflows.judging.pairs import policy_of
from monitors.workflows.starting.snapshots import HOLDOUT, times_us
from monitors.workflows.starting.training import result_of

MIN_ROWS = 100


def validate(context: RunContext) -> StepOutcome:
    """Reject a challenger that is clearly worse; anything less is for the gate, on live pairs."""
    comparison = _compare(context)
    if comparison is None or comparison.n_labelled < MIN_ROWS:
        rows = comparison.n_labelled if comparison else 0
        reason = f"the champion answered fewer than {MIN_ROWS} of the held-out rows"
        return done({"rows": rows, "judged": False, "reason": reason})
    policy = replace(
        policy_of(context.model, context.workflow, context.signature.task),
        min_labelled=MIN_ROWS,
        max_labelled=comparison.n_labelled + 1,
    )
    verdict = judge(comparison, policy)
    evidence = {
        "rows": comparison.n_labelled,
        "judged": True,
        "metrics": to_json(comparison.metrics),
        "reasons": verdict.reasons,
    }
    if verdict.decision == "reject":
        return rejected("clearly worse than the champion on the newest labelled rows", evidence)
    return done(evidence)


def _compare(context: RunContext) -> PairedComparison | None:
    """Pair what the champion answered when it was asked with what the trainer's child answered for the same rows."""
    path = path_of(Dataset.objects.get(pk=context.evidence_of("snapshot")["dataset"]))
    held_out = pq.read_table(path, filters=pc.field("split") == HOLDOUT)
    signature = context.signature
    challenger = _challenger_scores(context, signature)
    champion = _champion_scores(held_out, signature)
    usable = held_out["version_id"].to_numpy() == context.run.champion_id
    usable &= np.isfinite(champion.reshape(len(champion), -1)).all(1)
    if not usable.any():
        return None
    return compare_pairs(
        task=signature.task,
        y=coded(_objects(held_out["label"]), signature)[usable],
        champion=champion[usable],
        challenger=challenger[usable],
        champion_answer=coded(_objects(held_out["prediction"]), signature)[usable],
        block=times_us(held_out)[usable] // DAY_US,
    )


def _champion_scores(table: pa.Table, signature: Signature) -> NDArray[np.float64]:
    if signature.task != "multiclass":
        return table["score"].to_numpy().astype(np.float64)
    nothing = [np.nan] * len(signature.classes)
    return np.array([row or nothing for row in table["score"].to_pylist()], np.float64).reshape(
        -1, len(nothing)
    )


def _challenger_scores(context: RunContext, signature: Signature) -> NDArray[np.float64]:
    result = result_of(context)
    scores = np.load(result.holdout_scores_path, allow_pickle=False).astype(np.float64)
    if signature.task == "regression":
        return scores.reshape(-1)
    order = [result.metadata.classes.index(name) for name in signature.classes]
    if signature.task == "multiclass":
        return scores[:, order]
    assert signature.positive_class is not None
    return scores[:, result.metadata.classes.index(signature.positive_class)]


def _objects(column: pa.ChunkedArray) -> NDArray[Any]:
    return np.array(column.to_pylist(), object)
