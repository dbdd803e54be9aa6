"""Comparisons of all columns at once: what they find that no column shows, and what they say of hostile rows."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from monitors.stats.drift.distances import measure_drift
from monitors.stats.drift.prepared import prepare_reference
from monitors.stats.drift.thresholds import resample_null
from monitors.stats.joint.domain_classifier import separate
from monitors.stats.joint.judging import (
    JOINT_KERNELS,
    JointMeasure,
    JointNull,
    draw_joint_null,
    judge_jointly,
)
from monitors.stats.joint.pca_reconstruction import EXPLAINED, Components, reconstruct
from monitors.stats.joint.rows import JointEncoding, JointRows
from monitors.stats.mergeable.sketches import choose_centre, summarise_numbers
from monitors.stats.performance.estimate import Estimate

Columns = dict[str, NDArray[Any]]
NAMES = [f"x{number}" for number in range(6)]


def numbers(n: int, seed: int, *, together: float = 0.9) -> Columns:
    """Standard normal columns, of which the first two go together."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(n, len(NAMES)))
    table[:, 1] = together * table[:, 0] + np.sqrt(1 - together**2) * table[:, 1]
    return dict(zip(NAMES, table.T.copy(), strict=True))


def pair(reference: Columns, window: Columns) -> tuple[JointRows, JointRows]:
    encoding = JointEncoding.learn(reference)
    names = encoding.comparable(window)
    return encoding.encode(reference, names), encoding.encode(window, names)


@pytest.fixture(scope="module")
def usual() -> Columns:
    return numbers(1_000, 0)


@pytest.fixture(scope="module")
def null(usual: Columns) -> JointNull:
    rows, _ = pair(usual, usual)
    return draw_joint_null(rows, 300, by_day=False, rng=np.random.default_rng(0), draws=10)


def judged(name: str, usual: Columns, window: Columns, null: JointNull) -> Any:
    return judge_jointly(name, JOINT_KERNELS[name].measure(*pair(usual, window)), null)


class TestCorrelationAlone:
    def test_is_missed_by_every_column_by_itself(self, usual: Columns) -> None:
        apart = numbers(300, 1, together=0.0)

        for name in NAMES:
            centre = choose_centre(usual[name])
            reference = prepare_reference(summarise_numbers(usual[name], centre=centre))
            shares = resample_null(reference, 300, rng=np.random.default_rng(0))
            psi = shares.threshold("psi").value
            assert measure_drift(reference, summarise_numbers(apart[name], centre=centre))["psi"].value < psi

    @pytest.mark.parametrize("name", JOINT_KERNELS)
    def test_is_found_by_all_columns_together(self, name: str, usual: Columns, null: JointNull) -> None:
        verdict = judged(name, usual, numbers(300, 1, together=0.0), null)

        assert verdict.drifted
        assert verdict.p_value < 0.001

    def test_is_traced_to_the_two_columns(self, usual: Columns) -> None:
        told = separate(*pair(usual, numbers(300, 1, together=-0.9)))

        assert set(sorted(NAMES, key=lambda name: -told.shares[name])[:2]) == {"x0", "x1"}
        assert sum(told.shares.values()) == pytest.approx(1)


class TestNothingChanged:
    @pytest.mark.parametrize("name", JOINT_KERNELS)
    def test_the_same_rows_lie_at_what_is_usual(self, name: str, usual: Columns, null: JointNull) -> None:
        verdict = judged(name, usual, usual, null)

        assert not verdict.drifted

    def test_rows_that_are_their_own_reference_cannot_be_told_apart(self, usual: Columns) -> None:
        assert separate(*pair(usual, usual)).auc.value == 0.5

    @pytest.mark.slow
    def test_quiet_windows_are_rarely_flagged(self, usual: Columns, null: JointNull) -> None:
        windows = [numbers(300, seed) for seed in range(100, 120)]

        flagged = sum(judged("pca_reconstruction_error", usual, window, null).drifted for window in windows)
        flagged += sum(judged("domain_auc", usual, window, null).drifted for window in windows)

        assert flagged <= 2

    @pytest.mark.parametrize("name", JOINT_KERNELS)
    def test_the_same_rows_give_the_same_number(self, name: str, usual: Columns) -> None:
        sides = pair(usual, numbers(300, 2))

        assert JOINT_KERNELS[name].measure(*sides).estimate == JOINT_KERNELS[name].measure(*sides).estimate


class TestHours:
    def test_rows_of_one_hour_are_not_recognised_by_each_other(self) -> None:
        rng = np.random.default_rng(0)
        level = np.repeat(rng.normal(size=60), 20)  # each hour has its own, and 20 rows
        hours = np.repeat(np.arange(60), 20)
        columns = {"level": level, "noise": rng.normal(size=1_200)}
        rows = JointEncoding.learn(columns).encode(columns, tuple(columns), hours)
        late = rng.permutation(60)[:20]
        is_late = np.isin(hours, late)
        bare = JointRows(rows.names, rows.values, rows.is_category)

        grouped = separate(rows.take(~is_late), rows.take(is_late)).auc.value
        ungrouped = separate(bare.take(~is_late), bare.take(is_late)).auc.value

        assert ungrouped is not None
        assert grouped is not None
        assert ungrouped > 0.95, "an hour is known by its level once one of its rows was seen"
        assert grouped < 0.75

    @pytest.mark.slow
    def test_days_of_the_reference_stand_in_for_a_window(self) -> None:
        rng = np.random.default_rng(0)
        level = np.repeat(rng.normal(size=20), 100)
        columns = {"level": level + rng.normal(size=2_000)}
        rows = JointEncoding.learn(columns).encode(columns, ("level",), np.repeat(np.arange(20) * 24, 100))

        by_day = draw_joint_null(rows, 100, by_day=True, rng=rng, draws=8)
        by_chance = draw_joint_null(rows, 100, by_day=False, rng=rng, draws=8)

        assert by_day.why.startswith("8 days")
        assert by_day.draws["domain_auc"].mean() > by_chance.draws["domain_auc"].mean() + 0.1


class TestDaysThatAreEasilyToldApart:
    @pytest.mark.parametrize("lowest", [0.93, 0.999, 1.0])
    def test_have_no_limit_above_the_highest_value_and_say_that_nothing_would_be_beyond(
        self, lowest: float
    ) -> None:
        null = JointNull({"domain_auc": np.linspace(lowest, 1.0, 20)}, "20 days")

        judgement = judge_jointly("domain_auc", JointMeasure(Estimate(1.0, 300)), null)

        assert judgement is not None
        assert not judgement.drifted
        assert judgement.upper == 1.0
        assert "not informative: ordinary windows already lie near the maximum" in judgement.reason


class TestReconstruction:
    def test_agrees_with_the_formula(self, usual: Columns) -> None:
        window = numbers(200, 3, together=0.2)
        table, other = (np.column_stack(list(side.values())) for side in (usual, window))
        z = (table - table.mean(axis=0)) / table.std(axis=0)
        _, sizes, rows = np.linalg.svd(z, full_matrices=False)
        kept = 1 + int((np.cumsum(sizes**2) / (sizes**2).sum() <= EXPLAINED).sum())
        other_z = (other - table.mean(axis=0)) / table.std(axis=0)
        lost = other_z - other_z @ rows[:kept].T @ rows[:kept]

        estimate = reconstruct(*pair(usual, window)).error

        assert estimate.value == pytest.approx(np.linalg.norm(lost, axis=1).mean(), rel=1e-9)
        assert Components.learn(pair(usual, window)[0]).directions.shape[1] == kept

    def test_one_broken_row_does_not_decide(self, usual: Columns) -> None:
        window = numbers(300, 4)
        before = reconstruct(*pair(usual, window)).error.value
        window["x3"][0] = 1e308

        after = reconstruct(*pair(usual, window)).error.value

        assert before is not None
        assert after == pytest.approx(before, abs=0.05)


def broken(kind: str) -> tuple[Columns, Columns]:
    """A reference and a window of which one has something that real data have, too."""
    reference, window = numbers(300, 5), numbers(120, 6)
    texts = np.array([f"user {number}" for number in range(20_000)], object)
    match kind:
        case "empty":
            window = {name: values[:0] for name, values in window.items()}
        case "one row":
            window = {name: values[:1] for name, values in window.items()}
        case "all missing":
            window = {name: np.full(120, np.nan) for name in window}
        case "constant":
            window = {name: np.full(120, 7.0) for name in window}
        case "constant reference":
            reference = {name: np.full(300, 7.0) for name in window}
        case "infinities":
            window["x0"][:60], window["x1"][:] = np.inf, -np.inf
        case "1e308":
            window["x0"][::2], reference["x1"][::3] = 1e308, -1e308
        case "20,000 levels":
            reference["who"], window["who"] = texts[:300], texts[10_000:10_120]
        case "text without any value":
            reference["who"], window["who"] = texts[:300], np.full(120, None, object)
        case "reference of ten rows":
            reference = {name: values[:10] for name, values in reference.items()}
    return reference, window


KINDS = [
    "empty", "one row", "all missing", "constant", "constant reference", "infinities", "1e308", "20,000 levels",
    "text without any value", "reference of ten rows",
]  # fmt: skip


class TestHostileRows:
    @pytest.mark.parametrize("name", JOINT_KERNELS)
    @pytest.mark.parametrize("kind", KINDS)
    def test_have_a_finite_result_or_none(self, name: str, kind: str) -> None:
        reference, window = broken(kind)

        estimate = JOINT_KERNELS[name].measure(*pair(reference, window)).estimate

        assert estimate.n == len(next(iter(window.values())))
        assert (estimate.value is None) == (kind == "empty" or (kind == "one row" and name == "domain_auc"))
        assert estimate.value is None or np.isfinite(estimate.value)

    def test_levels_that_are_always_new_separate_nothing(self) -> None:
        reference, window = broken("20,000 levels")

        told = separate(*pair(reference, window))

        assert told.shares["who"] == 0

    def test_a_column_that_vanished_or_changed_its_kind_is_left_out(self) -> None:
        reference, window = numbers(300, 5), numbers(120, 6)
        del window["x0"]
        window["x1"] = np.array(["now a text"] * 120, object)

        assert JointEncoding.learn(reference).comparable(window) == ("x2", "x3", "x4", "x5")

    def test_without_columns_nothing_is_measured(self) -> None:
        sides = pair(numbers(300, 5), {})

        assert [kernel.measure(*sides).estimate.value for kernel in JOINT_KERNELS.values()] == [None, None]


class TestCategories:
    def test_that_no_longer_go_together_are_found(self) -> None:
        rng = np.random.default_rng(0)
        region = np.array(rng.choice(["north", "south"], 1_000), object)
        other = np.array(rng.choice(["north", "south"], 1_000), object)

        told = separate(*pair({"region": region, "home": region}, {"region": region, "home": other}))

        assert told.auc.value is not None
        assert told.auc.value > 0.65
