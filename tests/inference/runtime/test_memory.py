"""What the failures of runs say about memory."""

import pytest

from inference.runtime.memory import MAX_ARENA_BYTES, explain_failure, is_memory_taken


def failure(asked: int) -> RuntimeError:
    """Give the error of ONNX Runtime's arena."""
    return RuntimeError(
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bfc_arena.cc:369 void* "
        f"onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Available memory of 1048576 is smaller than "
        f"requested bytes of {asked}"
    )


class TestMemory:
    @pytest.mark.parametrize(("asked", "taken"), [(MAX_ARENA_BYTES // 2, True), (MAX_ARENA_BYTES + 1, False)])
    def test_is_taken_where_what_was_asked_for_fits_alone(self, asked: int, taken: bool) -> None:
        assert is_memory_taken(failure(asked)) is taken
        assert "send fewer rows" in (explain_failure(failure(asked)) or "")

    def test_is_not_what_other_failures_are_about(self) -> None:
        assert not is_memory_taken(ValueError("Available memory of the reader"))
        assert explain_failure(ValueError("bad")) is None
