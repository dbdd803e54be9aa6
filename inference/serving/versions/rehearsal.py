"""The trial of a version before it answers: it runs what the champion was lately asked, and nobody waits for it."""

from collections.abc import Callable

import numpy as np

from inference.runtime.remote.errors import UpstreamFailed
from inference.runtime.session import MAX_RUN_SECONDS, Array, ModelRefused, first_line, time_limit
from inference.serving.versions.sample_inputs import Batch
from inference.serving.versions.versions import LoadedVersion


def _no_step() -> None:
    """Do nothing before a batch."""


def rehearse(
    version: LoadedVersion, champion: LoadedVersion, before_batch: Callable[[], object] = _no_step
) -> None:
    """Run the champion's recent batches through a version; raise ModelRefused where it must not answer them.

    It must answer each within five seconds, in the champion's shapes, and with finite numbers wherever the
    champion gives such. Every batch size that traffic uses is warm afterwards. `before_batch` is called before each.
    """
    if not version.takes_same_inputs(champion):
        return  # it cannot be asked the same
    for batch in champion.recent.batches():
        before_batch()
        answers = _answer(version, batch)
        for spec, mine, expected in zip(
            champion.plan.signature.outputs, answers, _expected(champion, batch), strict=False
        ):
            _compare(spec.name, mine, expected, version, champion)


def warm_up(
    version: LoadedVersion, champion: LoadedVersion, before_batch: Callable[[], object] = _no_step
) -> None:
    """Run the champion's recent batches through a version that answers nobody, up to the first that fails."""
    try:
        rehearse(version, champion, before_batch)
    except ModelRefused:
        return


def _answer(version: LoadedVersion, batch: Batch) -> list[Array]:
    rows = len(next(iter(batch.values())))
    with time_limit(MAX_RUN_SECONDS) as options:
        try:
            return version.run(batch, options).outputs
        except Exception as error:
            reason = (
                f"does not answer {rows} recent rows within {MAX_RUN_SECONDS:g} seconds"
                if options.terminate
                else f"cannot answer {rows} recent rows: {first_line(error)}"
            )
    raise ModelRefused(f"Version {version.plan.version} {reason}")


def _expected(champion: LoadedVersion, batch: Batch) -> list[Array]:
    """Return what the champion answers; nothing where another server answers for it, and does not: others may then."""
    try:
        return champion.run(batch).outputs
    except UpstreamFailed:
        return []


def _compare(
    output: str, mine: Array, expected: Array, version: LoadedVersion, champion: LoadedVersion
) -> None:
    if mine.shape != expected.shape:
        raise ModelRefused(
            f"Output {output!r} of version {version.plan.version} has shape {list(mine.shape)} where that of "
            f"version {champion.plan.version} has {list(expected.shape)}."
        )
    if mine.dtype.kind != "f" or expected.dtype.kind != "f":
        return
    rows = len(mine)
    lost = (np.isfinite(expected) & ~np.isfinite(mine)).reshape(rows, -1).any(axis=1)
    if lost.any():
        raise ModelRefused(
            f"Output {output!r} of version {version.plan.version} is no finite number for {int(lost.sum())} of "
            f"{rows} recent rows, where that of version {champion.plan.version} is."
        )
