"""The cache that all processes share: what a second one sees, and what expires."""

import pytest
from django.core.cache import cache

from driftline.base.accounts.models import CacheEntry
from driftline.sign_in.shared_cache import MAX_EXPIRED_ROWS, SharedCache

pytestmark = pytest.mark.django_db


@pytest.fixture
def other_process() -> SharedCache:
    return SharedCache("", {})


def test_is_the_cache_that_allauth_counts_in() -> None:
    assert isinstance(cache._connections[cache._alias], SharedCache)  # type: ignore[attr-defined]


def test_gives_what_another_process_set(other_process: SharedCache) -> None:
    cache.set("tries", [3.5, 1.25], 60)

    assert other_process.get("tries") == [3.5, 1.25]


def test_adds_a_key_once_in_all_processes(other_process: SharedCache) -> None:
    assert cache.add("code", "y", 60)

    assert not other_process.add("code", "n", 60)
    assert cache.get("code") == "y"


def test_adds_to_a_number_that_it_has(other_process: SharedCache) -> None:
    cache.set("refused", 2, None)

    assert other_process.incr("refused") == 3
    assert cache.get("refused") == 3
    with pytest.raises(ValueError, match="no number"):
        cache.incr("another")


def test_forgets_what_has_expired(other_process: SharedCache) -> None:
    cache.set("tries", 1, 0)

    assert other_process.get("tries", "none") == "none"
    assert other_process.add("tries", 2, 60)
    assert cache.get("tries") == 2


def test_keeps_for_ever_what_has_no_time_out(other_process: SharedCache) -> None:
    cache.set("kept", 1, None)

    assert not other_process.add("kept", 2, 60)
    assert other_process.get("kept") == 1


def test_deletes_touches_and_clears() -> None:
    cache.set_many({"first": 1, "second": 2}, 60)

    assert cache.delete("first")
    assert not cache.delete("first")
    assert cache.touch("second", 0)
    assert cache.get("second") is None
    cache.set("third", 3)
    cache.clear()
    assert CacheEntry.objects.count() == 0


def test_drops_expired_rows_and_no_live_one() -> None:
    """However many accounts a stranger makes up, the counts of the others stay."""
    cache.set("live", 1, 600)
    for number in range(MAX_EXPIRED_ROWS // 10):
        cache.add(f"expired-{number}", 1, 0)

    cache.set("another", 1, 600)

    assert CacheEntry.objects.count() == 2


def test_refuses_a_value_that_is_no_json() -> None:
    with pytest.raises(TypeError):
        cache.set("object", object())
