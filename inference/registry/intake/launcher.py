"""Ask the child to examine a file, and turn its answer into a report."""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

import msgspec

from driftline.base.errors import UNREADABLE
from inference.registry.intake.errors import IntakeRefused
from inference.registry.intake.formats import HEAD_BYTES, refuse_other_formats
from inference.registry.intake.limits import IntakeLimits, Order, ReferenceRows, SampledReference
from inference.registry.intake.metadata import UploadMetadata
from inference.registry.intake.process import run_child
from inference.registry.intake.report import Findings, IntakeRefusal, IntakeReport
from inference.registry.intake.signature import derive_signature

DEFAULT_LIMITS = IntakeLimits()


def inspect_artifact(
    path: Path,
    metadata: UploadMetadata | None = None,
    *,
    task: str,
    reference: SampledReference | None = None,
    limits: IntakeLimits = DEFAULT_LIMITS,
) -> IntakeReport:
    """Open an uploaded model for the first time, in a sandboxed child; raises `IntakeRefused`.

    This process compares the first bytes with those of other formats, hashes all and parses none. `task` is the
    model's: binary, multiclass, regression or ranking; `reference` holds some rows of its reference. Takes about
    a second for a small model, at most `limits.wall_s`.
    """
    began = time.perf_counter()
    metadata = metadata or UploadMetadata()
    with path.open("rb") as artifact, _rows_file(reference.rows if reference else None) as rows:
        size = _screened_size(artifact, limits)
        sha256 = hashlib.file_digest(artifact, "sha256").hexdigest()
        answer = _examine(artifact, metadata, rows, limits)
    signature, warnings = derive_signature(answer, metadata, task=task)
    return IntakeReport(
        sha256=sha256,
        size_bytes=size,
        opset=answer.graph.opsets.get("ai.onnx", 0),
        ir_version=answer.graph.ir_version,
        producer=f"{answer.graph.producer} {answer.graph.producer_version}".strip(),
        description=answer.graph.description,
        node_count=answer.graph.node_count,
        initializer_bytes=answer.graph.initializer_bytes,
        ops=answer.graph.ops,
        inputs=answer.inputs,
        outputs=answer.outputs,
        signature=signature,
        dry_runs=answer.dry_runs,
        reference=answer.reference,
        warnings=warnings + _warnings_of(answer),
        sandbox=answer.sandbox,
        duration_ms=round((time.perf_counter() - began) * 1e3, 1),
        reference_sha256=reference.sha256 if reference else None,
        value_costs=answer.graph.value_costs,
    )


def examine_artifact(path: Path, metadata: UploadMetadata) -> Findings:
    """Open a model in the sandboxed child to learn what it takes and gives; raises `IntakeRefused`.

    For a model whose task is not known yet: the findings tell it, and `derive_signature` reads them for a task.
    """
    with path.open("rb") as artifact:
        _screened_size(artifact, DEFAULT_LIMITS)
        return _examine(artifact, metadata, None, DEFAULT_LIMITS)


def _screened_size(artifact: BinaryIO, limits: IntakeLimits) -> int:
    """Return the size; refuse what needs no child to be refused."""
    size = os.fstat(artifact.fileno()).st_size
    if size > limits.file_bytes:
        raise artifact_too_large(limits.file_bytes)
    refuse_other_formats(artifact.read(HEAD_BYTES))
    artifact.seek(0)
    return size


def _examine(
    artifact: BinaryIO, metadata: UploadMetadata, rows: IO[bytes] | None, limits: IntakeLimits
) -> Findings:
    artifact.seek(0)
    order = Order(
        limits=limits.for_file(os.fstat(artifact.fileno()).st_size),
        features=[feature.name for feature in metadata.features],
        missing=metadata.missing,
        rows_handle=rows.fileno() if rows else None,
    )
    answer = _ask_child(artifact, order)
    if isinstance(answer, IntakeRefusal):
        raise IntakeRefused(answer.code, answer.status, answer.detail)
    return answer


def artifact_too_large(file_bytes: int) -> IntakeRefused:
    """Refuse a file over the cap."""
    return IntakeRefused(
        "artifact_too_large", 413, f"The file is larger than {file_bytes:,} bytes; upload a smaller model."
    )


@contextmanager
def _rows_file(reference: ReferenceRows | None) -> Iterator[IO[bytes] | None]:
    """Write the rows into a file without a name, which the child inherits open."""
    if reference is None:
        yield None
        return
    with tempfile.TemporaryFile() as rows:
        rows.write(msgspec.msgpack.encode(reference))
        rows.seek(0)
        yield rows


def _ask_child(artifact: BinaryIO, order: Order) -> Findings | IntakeRefusal:
    """Run the child with the file on its standard input; its answer is capped by its own file size limit."""
    ending = run_child(
        "inference.registry.intake.child",
        msgspec.json.encode(order).decode(),
        stdin=artifact,
        handles=[] if order.rows_handle is None else [order.rows_handle],
        limits=order.limits,
    )
    if ending.hit_a_limit:
        raise _resource_limit(order.limits)
    if ending.status != 0:
        raise _unreadable()
    return _read_answer(ending.answer)


def _read_answer(raw: bytes) -> Findings | IntakeRefusal:
    try:
        return msgspec.json.decode(raw, type=Findings | IntakeRefusal)
    except UNREADABLE as error:
        raise _unreadable() from error


def _resource_limit(limits: IntakeLimits) -> IntakeRefused:
    return IntakeRefused(
        "resource_limit",
        422,
        f"The model used more than an upload may: {limits.load_cpu_s} s of CPU time to load, "
        f"{limits.run_cpu_s} s to answer a few rows, {limits.memory_bytes >> 20:,} MiB of memory, "
        f"{limits.wall_s:g} s in all. Look for a loop without end or a tensor whose size is computed.",
    )


def _unreadable() -> IntakeRefused:
    return IntakeRefused(
        "invalid_model", 422, "The model could not be examined: it broke the process that opened it."
    )


def _reference_warnings(findings: Findings) -> list[str]:
    run = findings.reference
    if run is None:
        return []
    if run.error:
        return [f"The model fails on rows of the reference: {run.error}"]
    return [
        f"The output '{name}' is not finite in {1 - seen.finite_share:.1%} of its values on the reference."
        for name, seen in run.outputs.items()
        if seen.finite_share < 1
    ]


def _warnings_of(findings: Findings) -> list[str]:
    """Describe in sentences what the dry runs showed."""
    words = {
        "typical": "on made-up rows",
        "missing": "on missing numbers (NaN)",
        "unseen": "on unseen categories",
    }
    failed = {run.fill: run.error for run in findings.dry_runs if run.error}
    warnings = [f"The model fails {words[fill]}: {error}" for fill, error in failed.items()]
    warnings += [
        f"The output '{name}' is not finite on rows of zeros."
        for name, seen in findings.observed.items()
        if not seen.finite
    ]
    warnings += _reference_warnings(findings)
    half = [spec.name for spec in (*findings.inputs, *findings.outputs) if spec.datatype == "FP16"]
    if half:
        warnings.append(f"{', '.join(half)}: float16 is slow on a CPU; export float32.")
    if not findings.sandbox.network_isolated:
        warnings.append("This system let the intake keep its network.")
    if not findings.sandbox.files_isolated:
        warnings.append("This system let the intake keep its view of the file system.")
    return warnings
