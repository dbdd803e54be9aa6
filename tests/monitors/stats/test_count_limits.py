"""Few rows in a window are distinguished from chance, whatever the usual number."""

import numpy as np
import pytest

from monitors.stats.count_limits import least_count

DRAWS = 3_000


@pytest.mark.parametrize("usual", [3, 10, 30, 1_000])
@pytest.mark.parametrize("windows", [2, 4, 7])
def test_hardly_one_of_a_thousand_usual_windows_has_too_few(usual: int, windows: int) -> None:
    rng = np.random.default_rng([usual, windows])
    counts = rng.poisson(usual, (DRAWS, windows + 1)).astype(float)

    passed = sum(row[-1] < least_count(row[:-1]) for row in counts)

    assert (
        passed <= 7
    )  # 3 are expected at most; half of the least earlier count alone: up to 90 of ten rows, 290 of 3


def test_a_fall_to_a_fifth_is_seen_where_chance_does_not_explain_it() -> None:
    rng = np.random.default_rng(1)
    usual, fallen = rng.poisson(100, (DRAWS, 4)).astype(float), rng.poisson(20, DRAWS)

    seen = sum(now < least_count(row) for row, now in zip(usual, fallen, strict=True))

    assert seen >= 0.99 * DRAWS
