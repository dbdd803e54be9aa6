"""What a test run computes once, in whichever worker and database, because it follows from its input alone.

Many tests give a model the same reference, and every one would draw its null distributions and calibrate its scores
anew; and many upload the same model, which a child process opens behind walls each time.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import msgspec
import numpy as np
import pytest

from inference.registry.intake.errors import IntakeRefused
from inference.registry.intake.limits import Order
from inference.registry.intake.report import Findings, IntakeRefusal, SandboxFacts
from monitors.metrics.references.loaded import LoadedReference
from monitors.metrics.references.nulls import Size
from monitors.stats.drift.distances import KERNELS
from monitors.stats.estimation.expectation import ConfidenceEstimator

type Draw = Callable[[LoadedReference, Size, int], bytes]
type Prepare = Callable[..., ConfidenceEstimator | str]
type Answer = Findings | IntakeRefusal
type Examine = Callable[[BinaryIO, Order], Answer]


def draw_once(draw: Draw, folder: Path) -> Draw:
    """Return `draw` with what it drew before read from `folder`: of the same rows, days, size and statistics."""

    def draw_or_read(reference: LoadedReference, size: Size, days: int) -> bytes:
        of_days = reference.days[size[0]]
        what = (
            reference.part,
            size,
            days,
            sorted(KERNELS),
            of_days and (of_days.design_effect, of_days.differ),
        )
        counts = [] if of_days is None else [of_days.counts.tobytes(), of_days.dates.tobytes()]
        return _once(folder, what, [reference.digest, *counts], lambda: draw(reference, size, days))

    return draw_or_read


def prepare_once(prepare: Prepare) -> Prepare:
    """Return `prepare` with what it learnt before remembered: its generator begins with the digest of the reference."""
    learnt: dict[str, ConfidenceEstimator | str] = {}

    def prepare_or_remember(reference: Any, *, rng: np.random.Generator) -> ConfidenceEstimator | str:
        key = str(rng.bit_generator.state)
        if key not in learnt:
            learnt[key] = prepare(reference, rng=rng)
        return learnt[key]

    return prepare_or_remember


def examine_once(examine: Examine, folder: Path) -> Examine:
    """Return `examine` with what it answered before read from `folder`: of the same model, order and rows."""

    def examine_or_read(artifact: BinaryIO, order: Order) -> Answer:
        model = hashlib.file_digest(artifact, "sha256").digest()
        artifact.seek(0)
        rows = b""
        if order.rows_handle is not None:
            rows = os.pread(order.rows_handle, os.fstat(order.rows_handle).st_size, 0)
        what = msgspec.structs.replace(order, rows_handle=None)
        answer = _once(folder, what, [model, rows], lambda: msgspec.json.encode(examine(artifact, order)))
        return msgspec.json.decode(answer, type=Answer.__value__)

    return examine_or_read


def examine_here(artifact: BinaryIO, order: Order) -> Answer:
    """Examine a model in this process, without walls: a quick test uploads only models that a test made."""
    from inference.registry.intake import examination, sandbox

    if order.rows_handle is not None:
        order = msgspec.structs.replace(order, rows_handle=os.dup(order.rows_handle))
    walls = SandboxFacts(
        *(True, True, True, True), order.limits.memory_bytes, order.limits.load_cpu_s, order.limits.run_cpu_s
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "allow_cpu", lambda seconds: None)  # it would end this process
        try:
            return examination.examine(artifact.read(), order, walls)
        except IntakeRefused as refused:
            return IntakeRefusal(refused.code, refused.status, refused.detail)


def _once(folder: Path, what: Any, contents: list[bytes], compute: Callable[[], bytes]) -> bytes:
    """Read what was computed of this before, or compute it and write it for all workers."""
    key = hashlib.sha256(repr(what).encode())
    for content in contents:
        key.update(hashlib.sha256(content).digest())
    path = folder / key.hexdigest()
    if path.exists():
        return path.read_bytes()
    folder.mkdir(exist_ok=True)
    computed = compute()
    unfinished = path.with_name(uuid4().hex)
    unfinished.write_bytes(computed)
    unfinished.rename(path)
    return computed
