"""What is remembered for a second, and what is not."""

from types import SimpleNamespace

import pytest

from driftline.base import ttl_cache
from driftline.base.ttl_cache import TtlCache


def test_asks_once_within_a_second() -> None:
    memory: TtlCache[str, int] = TtlCache()
    answers = iter([1, 2])

    found = [memory.get("key", lambda: next(answers)) for _ in range(3)]

    assert found == [1, 1, 1]


def test_asks_again_after_a_second_and_once_told_to_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    memory: TtlCache[str, int] = TtlCache()
    answers = iter([1, 2, 3])
    moments = iter([0.0, 1.0, 1.5])
    # The module's own name for it: other threads of this process read the real clock meanwhile.
    monkeypatch.setattr(ttl_cache, "time", SimpleNamespace(monotonic=lambda: next(moments)))

    first, late = (memory.get("key", lambda: next(answers)) for _ in range(2))
    memory.forget()

    assert (first, late, memory.get("key", lambda: next(answers))) == (1, 2, 3)


def test_remembers_nothing_that_was_not_found() -> None:
    memory: TtlCache[str, int] = TtlCache()

    with pytest.raises(KeyError):
        memory.get("key", lambda: {}["missing"])

    assert memory.get("key", lambda: 1) == 1


def test_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ttl_cache, "_MANY", 10)
    memory: TtlCache[int, int] = TtlCache()

    for key in range(100):
        memory.get(key, lambda: 0)

    assert len(memory._entries) <= 10
