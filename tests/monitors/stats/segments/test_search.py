"""A search that names what is worse, and nothing where nothing is."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from monitors.stats.segments.conditions import Cells, RowCondition, cut_columns
from monitors.stats.segments.search import MAX_SHARE, ScoredRows, search_segments

Columns = dict[str, NDArray[np.generic]]
USUALLY_HARD = "b"


def columns_of(rng: np.random.Generator, rows: int) -> Columns:
    return {
        "airport": rng.choice(np.array(list("abcdef"), object), rows, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.1]),
        "carrier": rng.choice(np.array(list("xyz"), object), rows),
        "wind": rng.normal(size=rows),
        "weekday": rng.integers(0, 7, rows).astype(float),
    }


def rows_of(
    rng: np.random.Generator,
    rows: int,
    hours: int,
    *,
    harder: Callable[[Columns], NDArray[np.bool_]] | None = None,
    by: float = 0.0,
) -> ScoredRows:
    """Wrong answers: a fifth of the rows, more in airport b as ever, all of an hour and airport alike by some shock."""
    columns, hour = columns_of(rng, rows), np.sort(rng.integers(0, hours, rows))
    airport = np.searchsorted(np.array(list("abcdef")), columns["airport"].astype(str))
    shocks = rng.normal(0, 0.05, (hours, 6))[hour, airport] + rng.normal(0, 0.05, hours)[hour]
    probability = 0.2 + 0.15 * (columns["airport"] == USUALLY_HARD) + shocks
    if harder is not None:
        probability = probability + by * harder(columns)
    wrong = (rng.random(rows) < probability).astype(float)
    return ScoredRows(columns, wrong, hour)


class TestFalseDiscoveries:
    @pytest.mark.slow
    def test_are_no_more_than_the_stated_rate_where_nothing_got_worse(self) -> None:
        searches, false = 80, 0
        for seed in range(searches):
            rng = np.random.default_rng(seed)
            false += bool(search_segments(rows_of(rng, 900, 24), rows_of(rng, 1_800, 48), rate=0.05).found)

        assert stats.binomtest(false, searches, 0.05, alternative="greater").pvalue > 0.05

    @pytest.mark.slow
    def test_are_no_more_than_the_stated_rate_beside_a_true_one(self) -> None:
        shares = []
        for seed in range(25):
            rng = np.random.default_rng(seed)
            window = rows_of(rng, 2_000, 24, harder=lambda columns: columns["carrier"] == "x", by=0.25)
            found = search_segments(window, rows_of(rng, 2_000, 48), rate=0.05).found
            # True is also what only overlaps: rows that are picked by it are worse than others.
            false = [one for one in found if "carrier = x" not in one.name]
            shares.append(len(false) / max(len(found), 1))

        assert np.mean(shares) <= 0.05


class TestSearch:
    def test_finds_a_category_that_got_15_points_worse_first(self) -> None:
        rng = np.random.default_rng(1)
        window = rows_of(rng, 6_000, 48, harder=lambda columns: columns["airport"] == "d", by=0.15)

        search = search_segments(window, rows_of(rng, 12_000, 96))

        (found,) = search.found
        assert found.name == "airport = d"
        assert found.lower < 0.15 < found.upper
        assert found.lower > 0
        assert found.p_value < 0.05
        assert found.harm == pytest.approx(found.excess * found.n / 6_000)
        assert found.share == pytest.approx(1, abs=0.4)

    def test_names_the_pair_and_neither_of_its_halves(self) -> None:
        rng = np.random.default_rng(2)

        def harder(columns: Columns) -> NDArray[np.bool_]:
            return np.logical_and(columns["airport"] == "a", columns["carrier"] == "z")

        window = rows_of(rng, 6_000, 48, harder=harder, by=0.3)

        found = search_segments(window, rows_of(rng, 12_000, 96)).found

        assert [one.name for one in found] == ["airport = a and carrier = z"]

    def test_names_two_by_the_rows_they_spoil(self) -> None:
        rng = np.random.default_rng(3)

        def harder(columns: Columns) -> NDArray[np.bool_]:
            return np.logical_or(columns["airport"] == "f", columns["carrier"] == "x")

        window = rows_of(rng, 8_000, 48, harder=harder, by=0.25)

        found = search_segments(window, rows_of(rng, 12_000, 96)).found

        assert [one.name for one in found] == ["carrier = x", "airport = f"]
        assert found[0].harm_lower > found[1].harm_lower

    def test_takes_what_was_always_harder_for_no_news(self) -> None:
        rng = np.random.default_rng(4)
        window, usual = rows_of(rng, 6_000, 48), rows_of(rng, 12_000, 96)

        assert search_segments(window, usual).found == ()
        assert [one.name for one in search_segments(window).found] == [f"airport = {USUALLY_HARD}"]

    def test_takes_what_stayed_as_it_was_while_the_others_got_better_for_no_news(self) -> None:
        rng = np.random.default_rng(11)
        window = rows_of(rng, 6_000, 48, harder=lambda columns: columns["carrier"] != "x", by=-0.2)
        usual = rows_of(rng, 12_000, 96)

        assert search_segments(window, usual).found == ()
        assert search_segments(usual, window).found[0].name.startswith("carrier = ")

    def test_finds_a_level_that_was_not_there_before(self) -> None:
        rng = np.random.default_rng(5)
        window = rows_of(rng, 4_000, 48, harder=lambda columns: columns["airport"] == "e", by=0.2)
        usual = rows_of(rng, 8_000, 96)
        airport = usual.columns["airport"]
        usual = more_of(usual, airport=np.where(airport == "e", "a", airport))

        (found,) = search_segments(window, usual).found

        assert (found.name, found.usual) == ("airport = e", None)

    def test_does_not_take_many_rows_of_one_hour_for_as_many_proofs(self) -> None:
        rng = np.random.default_rng(6)
        hour = np.repeat(np.arange(24), 100)
        loss = np.where((hour == 7) & (np.arange(2_400) % 2 == 0), 1.0, rng.random(2_400) < 0.2)
        odd = np.where((hour == 7) & (np.arange(2_400) % 2 == 0), "storm", "calm").astype(object)

        rows = ScoredRows({"weather": odd}, loss, hour)

        assert search_segments(rows).found == ()
        shuffled = ScoredRows({"weather": odd}, loss, rng.permutation(hour))
        assert [one.name for one in search_segments(shuffled).found] == ["weather = storm"]


def more_of(rows: ScoredRows, **columns: NDArray[np.generic]) -> ScoredRows:
    return replace(rows, columns={**rows.columns, **columns})


def of_no_use(rng: np.random.Generator, rows: int) -> Columns:
    return {
        "empty": np.full(rows, np.nan),
        "nothing": np.full(rows, None, object),
        "constant": np.ones(rows),
        "word": np.full(rows, "word", object),
        "names": np.array([f"person {i % 20_000}" for i in rng.permutation(rows)], object),
        "endless": np.where(np.arange(rows) % 2, np.inf, -np.inf),
        "huge": rng.choice([1e308, -1e308, np.nan], rows),
    }


class TestColumnsThatAreNoUse:
    def test_change_nothing_of_what_is_found(self) -> None:
        rng = np.random.default_rng(7)
        window = rows_of(rng, 4_000, 48, harder=lambda columns: columns["airport"] == "d", by=0.3)
        usual = rows_of(rng, 8_000, 96)
        useful = search_segments(window, usual)

        search = search_segments(
            more_of(
                window, **of_no_use(rng, 4_000), kind=np.full(4_000, "1", object), new=rng.normal(size=4_000)
            ),
            more_of(usual, **of_no_use(rng, 8_000), kind=np.ones(8_000)),
        )

        assert [one.name for one in search.found] == ["airport = d"]
        assert search.found[0].excess == useful.found[0].excess
        assert search.tried > useful.tried

    def test_of_losses_too_large_to_square_find_nothing(self) -> None:
        rng = np.random.default_rng(8)
        rows = ScoredRows(columns_of(rng, 500), np.full(500, 1e300), np.arange(500) % 24)

        assert search_segments(rows).found == ()

    @pytest.mark.parametrize("rows", [0, 1, 60])
    def test_of_few_rows_find_nothing(self, rows: int) -> None:
        rng = np.random.default_rng(9)

        search = search_segments(rows_of(rng, rows, 24), rows_of(rng, rows, 24))

        assert (search.found, search.n) == ((), rows)


# -- by brute force ----------------------------------------------------------------------------------------------------
def holds(condition: RowCondition, values: NDArray[np.generic]) -> NDArray[np.bool_]:
    is_text = values.dtype == object
    missing = np.array([value is None or value != value for value in values.tolist()])
    if condition.is_missing:
        return missing
    if condition.value is not None:
        wanted = condition.value if is_text else float(condition.value)
        return np.asarray(values == wanted)
    lower = -np.inf if condition.lower is None else condition.lower
    upper = np.inf if condition.upper is None else condition.upper
    numbers = values.astype(float)
    return np.logical_and(numbers >= lower, numbers < upper)


Measure = Callable[[ScoredRows, NDArray[np.bool_], NDArray[np.bool_]], float]


def excess(rows: ScoredRows, inside: NDArray[np.bool_], kept: NDArray[np.bool_]) -> float:
    return float(rows.loss[kept & inside].mean() - rows.loss[kept & ~inside].mean())


def mean_inside(rows: ScoredRows, inside: NDArray[np.bool_], kept: NDArray[np.bool_]) -> float:
    return float(rows.loss[kept & inside].mean())


def with_error(rows: ScoredRows, inside: NDArray[np.bool_], measure: Measure) -> tuple[float, float, float]:
    """Give a measure, its variance and degrees of freedom, each block left out in turn by hand."""
    blocks = np.unique(rows.block)
    without = np.array([measure(rows, inside, rows.block != block) for block in blocks])
    by_block = (blocks.size - 1) / blocks.size * ((without - without.mean()) ** 2).sum()
    parts = [rows.loss[inside], rows.loss[~inside]][: 2 if measure is excess else 1]
    by_row = sum(part.var() / (part.size - 1) for part in parts)
    counts = np.array([(inside & (rows.block == block)).sum() for block in blocks])
    whole = measure(rows, inside, np.ones(len(rows), bool))
    return whole, max(by_block, by_row), inside.sum() ** 2 / float((counts**2).sum()) - 1


def both(
    window: ScoredRows,
    now: NDArray[np.bool_],
    usual: ScoredRows,
    before: NDArray[np.bool_],
    measure: Measure,
) -> tuple[float, float]:
    """Give by how much a measure rose, and its p-value."""
    (value, variance, freedom), (usually, more, others) = (
        with_error(window, now, measure), with_error(usual, before, measure)
    )  # fmt: skip
    together = (variance + more) ** 2 / (variance**2 / freedom + more**2 / others)
    rise = value - usually
    return rise, float(stats.t.sf(rise / np.sqrt(variance + more), together))


def all_conditions(cells: list[Cells]) -> Iterator[tuple[RowCondition, ...]]:
    yield from ((one.condition(*run),) for one in cells for run in one.ranges())
    coarse = [
        [one.condition(*run) for run in one.coarse_ranges(4 if one.is_ordered else 12)] for one in cells
    ]
    yield from ((left, right) for a, b in combinations(coarse, 2) for left in a for right in b)


class TestBruteForce:
    def test_tries_as_many_segments_and_finds_the_same_excess(self) -> None:
        rng = np.random.default_rng(10)
        window = rows_of(rng, 1_000, 12, harder=lambda columns: columns["carrier"] == "y", by=0.3)
        usual = rows_of(rng, 1_000, 12)
        window = more_of(window, wind=np.where(np.arange(1_000) % 9, window.columns["wind"], np.nan))
        cells = cut_columns(
            {name: np.concatenate([window.columns[name], usual.columns[name]]) for name in window.columns},
            least=50,
        )
        by_name: dict[str, tuple[float, float]] = {}
        for conditions in all_conditions(cells):
            now, before = (
                np.logical_and.reduce([holds(one, rows.columns[one.feature]) for one in conditions])
                for rows in (window, usual)
            )
            if not 50 <= now.sum() <= MAX_SHARE * 1_000 or 0 < before.sum() < 30:
                continue
            if not before.any():
                value, variance, freedom = with_error(window, now, excess)
                tested = [(value, float(stats.t.sf(value / np.sqrt(variance), freedom)))]
            else:
                tested = [both(window, now, usual, before, measure) for measure in (excess, mean_inside)]
            by_name[" and ".join(map(str, conditions))] = (tested[0][0], max(p for _, p in tested))

        search = search_segments(window, usual)

        assert search.tried == len(by_name)
        (found,) = search.found
        value, p_value = by_name[found.name]
        assert found.name == "carrier = y"
        assert found.excess == pytest.approx(value, rel=1e-9)
        singles = sum(" and " not in name for name in by_name)
        assert found.p_value == pytest.approx(p_value * 2 * singles, rel=1e-6)
