"""Evidently's own functions are the oracle: same choice of test, same score, same decision."""

import warnings

import numpy as np
import pandas as pd
import pytest

from monitors.stats.drift.evidently_defaults import EvidentlyVerdict, evidently_verdict
from monitors.stats.mergeable.sketches import choose_centre, summarise_categories, summarise_numbers
from tests.monitors.stats.columns import real_columns

GOLDEN_REFERENCE = np.array([(37 * i % 1009) / 100 for i in range(1200)])
GOLDEN_CURRENT = np.array([(53 * i % 997) / 95 + 0.5 for i in range(800)])
GOLDEN_LEVELS = ["d" if i % 5 == 0 else "abc"[7 * i % 3] for i in range(600)]
GOLDEN_LEVELS_NOW = ["d" if i % 4 == 0 else "abc"[i * i % 3] for i in range(500)]


def from_summaries(reference, current) -> EvidentlyVerdict:
    if isinstance(reference, list):
        verdict = evidently_verdict(summarise_categories(reference), summarise_categories(current))
    else:
        centre = choose_centre(reference)
        sides = (summarise_numbers(side, centre=centre) for side in (reference, current))
        verdict = evidently_verdict(*sides)
    assert verdict is not None
    return verdict


def from_evidently(reference, current) -> EvidentlyVerdict:
    from evidently.legacy.calculations.stattests.registry import get_stattest
    from evidently.legacy.core import ColumnType

    kind = ColumnType.Categorical if isinstance(reference, list) else ColumnType.Numerical
    sides = [pd.Series(side).replace([-np.inf, np.inf], np.nan).dropna() for side in (reference, current)]
    test = get_stattest(*sides, kind, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = test(*sides, kind, None)
    return EvidentlyVerdict(
        test.name, float(result.drift_score), result.actual_threshold, bool(result.drifted)
    )


class TestGoldenNumbers:
    def test_wasserstein_of_a_large_reference(self):
        verdict = from_summaries(GOLDEN_REFERENCE, GOLDEN_CURRENT)

        assert (verdict.test, verdict.drifted) == ("wasserstein", True)
        assert verdict.score == pytest.approx(0.23287021830112462, rel=1e-9)

    def test_chi_square_of_a_small_one(self):
        verdict = from_summaries(GOLDEN_LEVELS, GOLDEN_LEVELS_NOW)

        assert verdict.test == "chisquare"
        assert verdict.score == pytest.approx(3.2022168999297686e-52, rel=1e-9)

    def test_jensen_shannon_of_a_large_one(self):
        verdict = from_summaries(GOLDEN_LEVELS * 3, GOLDEN_LEVELS_NOW)

        assert verdict.test == "jensenshannon"
        assert verdict.score == pytest.approx(0.3346404177073084, rel=1e-9)

    def test_z_of_two_values(self):
        usual = np.array([float(i % 3 == 0) for i in range(300)])
        current = np.array([float(i % 4 == 0) for i in range(400)])

        verdict = from_summaries(usual, current)

        assert (verdict.test, verdict.drifted) == ("z", True)
        assert verdict.score == pytest.approx(0.01572529975450543, rel=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
class TestAgainstEvidentlyItself:
    @pytest.mark.parametrize("rows", [400, 1_000, 1_001, 5_000])
    def test_numbers_of_awkward_columns(self, rows, capsys):
        rng = np.random.default_rng(rows)
        furthest, flips = {"wasserstein": 0.0, "ks": 0.0, "chisquare": 0.0, "jensenshannon": 0.0}, 0

        for shift in (0.0, 0.05, 0.1, 0.3):
            for name, reference in real_columns(rng, rows).items():
                current = real_columns(rng, 700)[name] + shift * reference.std()
                current[::50] = np.nan
                ours, theirs = from_summaries(reference, current), from_evidently(reference, current)
                assert (ours.test, ours.threshold) == (theirs.test, theirs.threshold), name
                furthest[ours.test] = max(furthest[ours.test], abs(ours.score - theirs.score))
                flips += ours.drifted != theirs.drifted

        with capsys.disabled():
            print(f"\n{rows} rows of reference: {flips} of 28 decisions flipped, furthest {furthest}")
        assert flips == 0
        assert furthest["wasserstein"] < 2e-3
        # Far from its line a p-value may be off by this much: ranks inside a grid cell are not known.
        assert furthest["ks"] < 0.1

    @pytest.mark.slow
    @pytest.mark.parametrize("rows", [600, 3_000])
    @pytest.mark.parametrize("count", [1, 2, 3, 30])
    def test_categories_to_the_last_digit(self, rows, count):
        rng = np.random.default_rng([rows, count])
        levels = [f"level {i}" for i in range(count)]
        reference, current = rng.choice(levels, rows).tolist(), rng.choice(levels, 400).tolist()

        ours, theirs = from_summaries(reference, current), from_evidently(reference, current)

        assert (ours.test, ours.drifted) == (theirs.test, theirs.drifted)
        assert ours.score == pytest.approx(theirs.score, rel=1e-9, abs=1e-9)

    def test_a_level_that_is_new(self):
        ours, theirs = (
            judge(["a", "b"] * 100 + ["c"], ["a", "b", "new"] * 30)
            for judge in (from_summaries, from_evidently)
        )

        assert (ours.test, ours.score, ours.drifted) == (theirs.test, theirs.score, theirs.drifted)


def test_a_column_without_values_has_no_verdict():
    assert evidently_verdict(summarise_categories(["a"]), summarise_categories([None])) is None
