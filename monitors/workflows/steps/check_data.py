"""The step `check_data`: see whether the rows can teach and judge a model, before anything learns from them."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from inference.registry.files.datasets import path_of
from inference.registry.models import Dataset
from monitors.metrics.inputs.broken_features import BrokenFeature, broken_features
from monitors.stats.twin_rows import TwinRows, find_twins
from monitors.workflows.context import Evidence, RunContext, StepOutcome, done, to_json, waiting
from monitors.workflows.models import Step
from monitors.workflows.starting.snapshots import HOLDOUT, TIME_TYPE, column_of, times_us
from monitors.workflows.steps.check_labels import use_up_approval
from monitors.workflows.steps.shadow import PERSON

MORE_TWINS = 0.1
"""By how much the share of twins grows until a person who let it pass is asked again."""


def check_data(context: RunContext) -> StepOutcome:
    """Wait for a person, whatever the autonomy, when rows that were held out are copies of training rows, or when a
    feature of the newest rows is broken."""
    if context.run.approved_by and "doubts" in context.step.evidence:
        return done({"approved_by": context.run.approved_by}, effect=use_up_approval)
    table = pq.read_table(path_of(Dataset.objects.get(pk=context.evidence_of("snapshot")["dataset"])))
    twins, broken = _twins(context, table), _broken(context, table)
    evidence: Evidence = {
        "held_out": twins.rows,
        "twins": twins.twins,
        "usual_share_of_twins": twins.usual_share,
        "broken": [to_json(feature) | {"rows": rows} for feature, rows in broken],
    }
    doubts = [_sentence(feature, rows) for feature, rows in broken]
    if twins.are_too_many and not _is_known(context, twins):
        doubts.insert(0, _sentence_of_twins(twins))
        evidence["asked_about_twins"] = True
    if not doubts:
        return done(evidence)
    return waiting(
        f"a person to judge the data: {doubts[0]}"[:200], needs=PERSON, evidence=evidence | {"doubts": doubts}
    )


def _twins(context: RunContext, table: pa.Table) -> TwinRows:
    names = [feature.name for feature in context.signature.features]
    columns = {name: column_of(table, name) for name in [*names, "label"]}
    return find_twins(columns, times_us(table), pc.equal(table["split"], HOLDOUT).to_numpy())


def _sentence_of_twins(twins: TwinRows) -> str:
    return (
        f"{twins.share:.0%} of the {twins.rows:,} rows held out repeat a training row "
        f"({twins.usual_share:.0%} is usual), so they cannot judge what was learnt"
    )


def _is_known(context: RunContext, twins: TwinRows) -> bool:
    """Return whether a person let about as many twins pass in an earlier run."""
    steps = Step.objects.filter(
        run__model=context.model,
        name=check_data.__name__,
        evidence__has_keys=["approved_by", "asked_about_twins"],
    )
    shares = [
        one["twins"] / one["held_out"] for one in steps.values_list("evidence", flat=True) if one["held_out"]
    ]
    return any(twins.share <= share + MORE_TWINS for share in shares)


def _broken(context: RunContext, table: pa.Table) -> list[tuple[BrokenFeature, int]]:
    """List the features that are broken now, with the rows of the snapshot from then on."""
    taken = {feature.name for feature in context.signature.features}
    found = [
        one for one in broken_features(context.model, until=context.run.data_until) if one.feature in taken
    ]
    counted = [(one, _rows_since(table, one)) for one in found]
    return [(one, rows) for one, rows in counted if rows]


def _rows_since(table: pa.Table, broken: BrokenFeature) -> int:
    since = pa.scalar(broken.since, TIME_TYPE)
    return int(pc.sum(pc.greater_equal(table["timestamp"], since)).as_py() or 0)


def _sentence(broken: BrokenFeature, rows: int) -> str:
    return f"{broken.sentence}; {rows:,} of the rows are of that time"
