"""What of a found model can be registered: its ONNX is opened in the sandbox, nothing is written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from driftline.base.errors import Problem
from inference.registry.importers.source_model import DeclaredTensor, NotImported, SourceModel, SourceVersion
from inference.registry.intake import IntakeRefused, UploadMetadata, examine_artifact, parse_metadata
from inference.registry.intake.report import Findings
from inference.registry.intake.signature import (
    LABEL_NAMES,
    NUMBER_NAMES,
    PROBABILITY_NAMES,
    derive_signature,
)
from inference.registry.models import ModelTask
from inference.registry.services import check_model_name
from inference.signatures import TensorSpec

_AS_PROBABILITY = {"Sigmoid", "Softmax", "LogSoftmax"}
_ASK_TASK = "its outputs do not tell; add --task binary, multiclass, regression or ranking"


@dataclass(frozen=True)
class PlannedModel:
    """A found model with the versions that the intake takes; `task` is None where nothing tells it.

    `left` is what was found to stay behind, with what the intake refused and where the ONNX is not as described.
    """

    found: SourceModel
    task: str | None
    versions: tuple[SourceVersion, ...]
    left: tuple[NotImported, ...]


def plan_model(found: SourceModel, *, task: str | None) -> PlannedModel:
    """Examine each version; `task` is the model's where it is known. Takes about a second a version."""
    try:
        check_model_name(found.name)
    except Problem as problem:
        renaming = NotImported("the name", f"{problem.detail} Add --only and --name.")
        return PlannedModel(found, task, (), (renaming, *found.left))
    examined, left = _examine(found)
    if examined and task is None:
        task = infer_task(next(iter(examined.values())), found.metadata)
        if task is None:
            return PlannedModel(found, None, (), (*left, NotImported("the task", _ASK_TASK), *found.left))
    passed = []
    for version in found.versions:
        findings = examined.get(version.name)
        if findings is None or task is None:
            continue
        try:
            derive_signature(findings, found.metadata, task=task)
        except IntakeRefused as refusal:
            left.append(_refused(version, refusal))
            continue
        passed.append(version)
        left += _other_than_described(found, version, findings)
    return PlannedModel(found, task, tuple(passed), (*left, *found.left))


def with_classes(found: SourceModel, classes: Sequence[str]) -> SourceModel:
    """Name the classes of a model whose folder names none."""
    if found.metadata.classes or not classes:
        return found
    return replace(found, metadata=msgspec.structs.replace(found.metadata, classes=list(classes)))


def infer_task(findings: Findings, metadata: UploadMetadata) -> str | None:
    """Return the task by classes, else by the outputs; None where a number might as well be a probability."""
    classes = len(metadata.classes) or max(map(len, findings.graph.class_labels.values()), default=0)
    if classes:
        return ModelTask.BINARY if classes == 2 else ModelTask.MULTICLASS
    names = {output.name for output in findings.outputs}
    if names & {*LABEL_NAMES, *PROBABILITY_NAMES}:
        return None
    is_number = names & set(NUMBER_NAMES) or (len(names) == 1 and _is_one_number_a_row(findings))
    return ModelTask.REGRESSION if is_number and not _AS_PROBABILITY & findings.graph.ops.keys() else None


def _is_one_number_a_row(findings: Findings) -> bool:
    only = findings.outputs[0]
    seen = findings.observed.get(only.name)
    shape = seen.shape if seen else only.shape
    return only.datatype.startswith("FP") and shape[1:] in ([], [1])


def _examine(found: SourceModel) -> tuple[dict[str, Findings], list[NotImported]]:
    examined, left = dict[str, Findings](), list[NotImported]()
    for version in found.versions:
        try:
            metadata = parse_metadata(msgspec.json.encode(found.metadata))
            examined[version.name] = examine_artifact(version.file, metadata)
        except IntakeRefused as refusal:
            left.append(_refused(version, refusal))
    return examined, left


def _refused(version: SourceVersion, refusal: IntakeRefused) -> NotImported:
    return NotImported(f"version {version.name[:64]}", refusal.detail)


# -- the description and the file --------------------------------------------------------------------------------------
def _other_than_described(
    found: SourceModel, version: SourceVersion, findings: Findings
) -> list[NotImported]:
    """Return where the file takes or gives something else than the other server's description says."""
    sides = (
        ("input", found.inputs, findings.inputs),
        ("output", found.outputs, findings.outputs),
    )
    return [
        NotImported(f"{side} {tensor.name[:64]} of version {version.name}", reason)
        for side, declared, real in sides
        for tensor in declared
        if (reason := _difference(tensor, real))
    ]


def _difference(declared: DeclaredTensor, real: list[TensorSpec]) -> str | None:
    found = next((spec for spec in real if spec.name == declared.name), None)
    if found is None:
        return f"the ONNX has no such tensor; it has {', '.join(spec.name for spec in real)[:200]}"
    if declared.datatype is not None and declared.datatype != found.datatype:
        return f"described as {declared.datatype}, and the ONNX has {found.datatype}: callers send that"
    if declared.shape is not None and not _fits(declared.shape, found.shape):
        return (
            f"described with shape {list(declared.shape)}, and the ONNX has {found.shape}: callers send that"
        )
    return None


def _fits(declared: Sequence[int], real: Sequence[int]) -> bool:
    return len(declared) == len(real) and all(
        -1 in (dimension, size) or dimension == size for dimension, size in zip(declared, real, strict=True)
    )
