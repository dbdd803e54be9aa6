"""Start the child, hold it to its deadline, and turn its answer into a report."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from inference.registry.intake.errors import IntakeRefused
from inference.registry.intake.limits import IntakeLimits, Order
from inference.registry.intake.metadata import UploadMetadata
from inference.registry.intake.report import Findings, IntakeReport, Refusal
from inference.registry.intake.signature import derive_signature

DEFAULT_LIMITS = IntakeLimits()
_CODE = Path(__file__).parents[3]
_LIMIT_SIGNALS = (signal.SIGXCPU, signal.SIGKILL, signal.SIGXFSZ, signal.SIGABRT)


def inspect_artifact(
    path: Path,
    metadata: UploadMetadata | None = None,
    *,
    task: str,
    limits: IntakeLimits = DEFAULT_LIMITS,
) -> IntakeReport:
    """Open an uploaded model for the first time, in a sandboxed child; raises `IntakeRefused`.

    This process hashes the bytes and never parses them. `task` is the model's: binary, multiclass, regression
    or ranking. Takes about a second for a small model, at most `limits.wall_s`.
    """
    began = time.perf_counter()
    metadata = metadata or UploadMetadata()
    order = Order(limits, len(metadata.features) or None)
    with path.open("rb") as artifact:
        size = os.fstat(artifact.fileno()).st_size
        if size > limits.file_bytes:
            raise artifact_too_large(limits.file_bytes)
        sha256 = hashlib.file_digest(artifact, "sha256").hexdigest()
        artifact.seek(0)
        answer = _ask_child(artifact, order)
    if isinstance(answer, Refusal):
        raise IntakeRefused(answer.code, answer.status, answer.detail)
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
        warnings=warnings + _warnings_of(answer),
        sandbox=answer.sandbox,
        duration_ms=round((time.perf_counter() - began) * 1e3, 1),
    )


def artifact_too_large(file_bytes: int) -> IntakeRefused:
    """Refuse a file over the cap."""
    return IntakeRefused(
        "artifact_too_large", 413, f"The file is larger than {file_bytes:,} bytes; upload a smaller model."
    )


def _ask_child(artifact: BinaryIO, order: Order) -> Findings | Refusal:
    """Run the child with the file on its standard input; its answer is capped by its own file size limit."""
    with (
        tempfile.TemporaryDirectory(prefix="driftline-intake-") as empty,
        tempfile.TemporaryFile() as answer,
        tempfile.TemporaryFile() as complaints,
    ):
        child = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "inference.registry.intake.child",
                msgspec.json.encode(order).decode(),
            ],
            stdin=artifact,
            stdout=answer,
            stderr=complaints,
            cwd=empty,
            env=_bare_environment(empty),
            start_new_session=True,
        )
        try:
            status = child.wait(order.limits.wall_s)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL
        finally:
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        answer.seek(0)
        complaints.seek(0)
        if status != 0:
            raise _refusal_of_death(status, complaints.read(4096), order.limits)
        return _read_answer(answer.read(order.limits.report_bytes))


def _bare_environment(home: str) -> dict[str, str]:
    """Give the child what Python and the numeric libraries need, and nothing of ours."""
    return {
        "PYTHONPATH": str(_CODE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": home,
        "LANG": "C.UTF-8",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _read_answer(raw: bytes) -> Findings | Refusal:
    try:
        return msgspec.json.decode(raw, type=Findings | Refusal)
    except msgspec.MsgspecError as error:
        raise _unreadable() from error


def _refusal_of_death(status: int, complaints: bytes, limits: IntakeLimits) -> IntakeRefused:
    if -status in _LIMIT_SIGNALS or b"MemoryError" in complaints or b"bad_alloc" in complaints:
        return IntakeRefused(
            "resource_limit",
            422,
            f"The model used more than an upload may: {limits.load_cpu_s} s of CPU time to load, "
            f"{limits.run_cpu_s} s to answer a few rows, {limits.memory_bytes >> 20:,} MiB of memory, "
            f"{limits.wall_s:g} s in all. Look for a loop without end or a tensor whose size is computed.",
        )
    return _unreadable()


def _unreadable() -> IntakeRefused:
    return IntakeRefused(
        "invalid_model", 422, "The model could not be examined: it broke the process that opened it."
    )


def _warnings_of(findings: Findings) -> list[str]:
    """Say in sentences what the dry runs showed."""
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
    half = [spec.name for spec in (*findings.inputs, *findings.outputs) if spec.datatype == "FP16"]
    if half:
        warnings.append(f"{', '.join(half)}: float16 is slow on a CPU; export float32.")
    if not findings.sandbox.network_isolated:
        warnings.append("This system let the intake keep its network.")
    if not findings.sandbox.files_isolated:
        warnings.append("This system let the intake keep its view of the file system.")
    return warnings
