"""When a change was, by the p-values of the windows around it."""

import numpy as np
import pytest

from monitors.stats.streams.evidence import Chance, Evidence, StreamOnset
from monitors.stats.streams.onset import estimate_onset

CHANGE, DRAWS = 40, 200


def found_after_a_change(rng: np.random.Generator, theta: float, calm: float) -> tuple[Evidence, StreamOnset]:
    """Add windows until their evidence is a finding; p-values are of chance, or `calm`, and then smaller."""
    p_values = np.concatenate([rng.random(CHANGE) ** (1 / calm), rng.random(300) ** (1 / theta)])
    stream = Evidence()
    for mark, p_value in enumerate(p_values):
        stream.update(Chance(float(p_value), 30), mark, most=1e4)
        if mark >= CHANGE and stream.power > 3:
            break
    onset = stream.onset()
    assert onset is not None
    return stream, onset


@pytest.mark.parametrize("calm", [1.0, 0.7])
@pytest.mark.parametrize("theta", [0.1, 0.2])
def test_the_interval_holds_the_change_at_least_nine_times_in_ten(theta: float, calm: float) -> None:
    rng = np.random.default_rng([int(100 * theta), int(10 * calm)])

    found = [found_after_a_change(rng, theta, calm)[1] for _ in range(DRAWS)]

    assert sum(one.first <= CHANGE <= one.last for one in found) / DRAWS >= 0.9
    assert abs(np.median([one.mark for one in found]) - CHANGE) <= 1


def test_the_estimate_is_not_early_where_the_evidence_began_by_chance_before_the_change() -> None:
    rng = np.random.default_rng(0)
    found = [found_after_a_change(rng, 0.1, 0.7) for _ in range(DRAWS)]
    early = [(stream, onset) for stream, onset in found if stream.since <= CHANGE - 8]

    assert len(early) >= 10
    assert np.mean([onset.mark >= CHANGE - 3 for _, onset in early]) >= 0.8


def test_counts_the_windows_since_and_those_that_stand_out() -> None:
    stream = Evidence()
    for mark, p_value in enumerate([0.6, 0.9, 0.4, 0.7, 0.8, 0.3, 0.01, 0.02, 0.004, 0.01]):
        stream.update(Chance(p_value, 400, stands_out=p_value == 0.004), mark, most=1e6)

    onset = stream.onset()

    assert onset is not None
    assert (onset.mark, onset.windows, onset.standing_out) == (6, 4, 1)


def test_of_a_state_that_remembers_no_window_is_not_known() -> None:
    assert Evidence(power=2.0, since=5, windows=9).onset() is None


def test_of_one_window_is_that_window() -> None:
    assert estimate_onset([0.5]).place == 0
