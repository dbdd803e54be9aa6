"""How seldom quiet windows pass the limits of shares of rows, and what is noticed nevertheless."""

import pytest

from monitors.stats.share_limits import TOLERANCE, DayCounts, share_limit
from tests.worlds.quiet_shares import WORLDS, passed


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "a_day"), [(30, 30), (210, 30), (1_000, 1_000)])
@pytest.mark.parametrize("world", WORLDS)
def test_at_most_one_quiet_window_in_a_thousand_passes_its_limit(world: str, rows: int, a_day: int) -> None:
    assert passed(WORLDS[world], rows=rows, a_day=a_day) <= 1 / 1_000


def test_days_that_differ_by_chance_alone_leave_little_room_and_those_that_truly_do_leave_more() -> None:
    alike, stormy = DayCounts.of([10] * 28, [1_000] * 28), DayCounts.of([0] * 27 + [280], [1_000] * 28)

    assert share_limit(alike, 1_000) < 0.02 + TOLERANCE
    assert 0.28 + TOLERANCE < share_limit(stormy, 1_000) < 1


def test_a_reference_without_rows_excludes_nothing() -> None:
    assert share_limit(DayCounts.of([0, 0], [0, 0]), 100) == 1.0
