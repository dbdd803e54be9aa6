"""Whether a version's answers are worth serving: judged by its run on rows of the model's reference."""

from typing import Any

import msgspec
import pyarrow.parquet as pq
from django.conf import settings

from driftline.base.errors import Problem
from inference.registry.endpoints.probing import probe_again
from inference.registry.files.downloads import artifact_lost
from inference.registry.intake import IntakeRefused, inspect_artifact
from inference.registry.intake.limits import ReferenceRows, SampledReference
from inference.registry.intake.metadata import declare
from inference.registry.intake.report import OutputOnReference, ReferenceRun
from inference.registry.models import Dataset, Model, ModelTask, Version
from inference.registry.selectors import signature_of
from inference.signatures import Signature

MAX_NOT_FINITE_SHARE = 0.01
MIN_ROWS = 20
"""So many equal answers may be chance."""
_ROWS = 1_000
_CELLS = 200_000
_GROUPS = 4


class ValidationFailed(Problem):
    """The version loads and runs, and its answers are worth nothing."""


def read_reference(model: Model, but: str | None = None) -> SampledReference | None:
    """Read some rows of the model's newest reference, spread over the file.

    None where there is no reference, or where it is the one whose SHA-256 is `but`.
    """
    dataset = _reference_of(model)
    if dataset is None or dataset.sha256 == but:
        return None
    try:
        return SampledReference(dataset.sha256, _sample(pq.ParquetFile(settings.HOME / dataset.path)))
    except FileNotFoundError:
        return None  # the file was lost; the version's own bytes can still be examined


def check_answers(version: Version) -> None:
    """Raise ValidationFailed (409) where the version fails, or gives NaN or one constant, on the reference's rows.

    A version that came before the newest reference is run on it now, in the intake's sandbox or by its server: this
    raises Problem `artifact_lost` (410) where its file is gone.
    """
    run = _run_on_reference(version)
    if run is None:
        return
    if run.error is not None:
        raise _failed(version, f"fails on rows of the reference: {run.error}")
    for name in _judged_outputs(signature_of(version)):
        seen = run.outputs.get(name)
        if seen is None:
            continue
        if 1 - seen.finite_share > MAX_NOT_FINITE_SHARE:
            raise _failed(
                version,
                f"gives no finite number in {1 - seen.finite_share:.1%} of the values of '{name}' for "
                f"{run.rows:,} rows of the reference",
            )
        if seen.constant and run.rows >= MIN_ROWS:
            raise _failed(
                version,
                f"gives the same '{name}'{_range_of(seen)} for each of {run.rows:,} rows of the reference",
            )


def _failed(version: Version, what: str) -> ValidationFailed:
    return ValidationFailed(
        409, "validation_failed", f"Version {version.version} {what}; upload one that answers."
    )


def _range_of(seen: OutputOnReference) -> str:
    if seen.least is None or seen.greatest is None:  # of no numbers, such as texts
        return ""
    return f" (from {seen.least:g} to {seen.greatest:g})"


def _judged_outputs(signature: Signature) -> list[str]:
    """Name the output of numbers that the prediction rests on; a rare class may well be answered to no row."""
    if signature.task in (ModelTask.BINARY, ModelTask.MULTICLASS):
        names = [signature.probabilities_output]
    else:
        names = [signature.prediction_output or signature.outputs[0].name]
    return [name for name in names if name is not None]


def _run_on_reference(version: Version) -> ReferenceRun | None:
    report: dict[str, Any] = version.intake_report or {}
    newer = read_reference(version.model, but=report.get("reference_sha256"))
    if newer is not None:
        report = _examine_again(version, newer)
        version.intake_report = report
        version.save(update_fields=["intake_report"])
    return msgspec.convert(report.get("reference"), ReferenceRun | None)


def _examine_again(version: Version, reference: SampledReference) -> dict[str, Any]:
    signature = signature_of(version)
    try:
        if version.is_remote:
            return probe_again(version, reference)
        report: dict[str, Any] = msgspec.to_builtins(
            inspect_artifact(
                settings.HOME / version.path, declare(signature), task=signature.task, reference=reference
            )
        )
        return report
    except IntakeRefused as refusal:
        raise _failed(
            version, f"is refused by the intake of today: {refusal.detail.rstrip('.')}"
        ) from refusal
    except FileNotFoundError as error:
        raise artifact_lost(version) from error


def _reference_of(model: Model) -> Dataset | None:
    return model.datasets.filter(kind="reference").order_by("-created_at", "-pk").first()


def _sample(file: pq.ParquetFile) -> ReferenceRows:
    names = file.schema_arrow.names
    groups = range(0, file.num_row_groups, max(1, file.num_row_groups // _GROUPS))[:_GROUPS]
    wanted = max(1, min(_ROWS, _CELLS // max(1, len(names))) // max(1, len(groups)))
    rows: ReferenceRows = {name: [] for name in names if name != "timestamp"}
    for group in groups:
        batch = next(file.iter_batches(batch_size=wanted, row_groups=[group], columns=list(rows)))
        for name, column in batch.to_pydict().items():
            rows[name] += column
    return rows
