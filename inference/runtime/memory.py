"""A bound on what the runs of a process work on at once: a model may take a size from its caller's values."""

import functools
import re

import onnxruntime as ort

_LACK = re.compile(r"Available memory of \d+ is smaller than requested bytes of (\d+)")
MAX_ARENA_BYTES = 2 * 1024**3


def bound_memory(options: ort.SessionOptions) -> None:
    """Make a session share the process's one arena, which has a bound; the model's weights are not in it."""
    _register_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")


@functools.cache
def _register_arena() -> None:
    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(MAX_ARENA_BYTES, -1, -1, -1))


def is_memory_taken(error: Exception) -> bool:
    """Return whether a run failed for lack of memory that others may hold: what it asked for would fit alone."""
    requested = _requested_bytes(error)
    return requested is not None and requested <= MAX_ARENA_BYTES


def explain_failure(error: Exception) -> str | None:
    """Explain that a run failed for lack of memory; None for any other reason."""
    if _requested_bytes(error) is None:
        return None
    return (
        f"they make it work on more than {MAX_ARENA_BYTES} bytes at once; send fewer rows, or smaller values "
        "where they are sizes."
    )


def _requested_bytes(error: Exception) -> int | None:
    """Read how much memory there was not enough for; ONNX Runtime has no type for it."""
    match = _LACK.search(str(error))
    return int(match[1]) if match is not None else None
