"""Rows held out that a training row repeats: copies are counted, and what always repeats is not taken for copies."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.stats.twin_rows import TwinRows, find_twins

type Rows = dict[str, Any]


def rows_of(rng: np.random.Generator, rows: int, *, task: str = "binary") -> Rows:
    amount = rng.normal(size=rows)
    amount[rng.random(rows) < 0.02] = np.nan
    label = rng.choice(np.array(["yes", "no"], object), rows) if task == "binary" else rng.normal(size=rows)
    return {"amount": amount, "wealth": rng.lognormal(sigma=3, size=rows), "label": label}


def of_few_values(rng: np.random.Generator, rows: int) -> Rows:
    """Columns that follow from each other, of which each row has many likes."""
    age = rng.integers(18, 90, rows).astype(np.float64)
    bucket = np.array([f"{int(one) // 10}0s" for one in age], object)
    label = np.where(age > 50, "yes", "no").astype(object)
    return {"age": age, "bucket": bucket, "senior": (age > 65) * 1.0, "label": label}


def twins_of(train: Rows, *held: Rows) -> TwinRows:
    parts = [train, *held]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in train}
    total = len(columns["label"])
    return find_twins(columns, np.arange(total), np.arange(total) >= len(train["label"]))


def taken(rows: Rows, places: Any) -> Rows:
    return {name: column[places] for name, column in rows.items()}


class TestCopies:
    @given(
        copies=st.integers(0, 200), seed=st.integers(0, 50), task=st.sampled_from(["binary", "regression"])
    )
    def test_are_all_counted_and_nothing_else_is(self, copies: int, seed: int, task: str) -> None:
        rng = np.random.default_rng(seed)
        train, fresh = rows_of(rng, 500, task=task), rows_of(rng, 300, task=task)
        found = twins_of(train, taken(train, rng.choice(500, copies, replace=False)), fresh)
        assert found.rows == 300 + copies
        assert copies <= found.twins <= copies + 3  # two rows may lie within a thousandth by chance
        assert found.usual_share < 0.02
        assert found.are_too_many or found.share < 0.12
        assert not found.are_too_many or copies >= 17

    @pytest.mark.parametrize("task", ["binary", "regression"])
    def test_are_found_where_numbers_differ_by_rounding(self, task: str) -> None:
        rows = rows_of(np.random.default_rng(1), 400, task=task)
        numbers = {name for name, column in rows.items() if column.dtype != object}
        rounded = {name: rows[name].astype(np.float32).astype(np.float64) for name in numbers}
        found = twins_of(rows, rows | rounded)
        assert found.share > 0.9
        assert found.are_too_many

    def test_are_found_beside_a_wild_value(self) -> None:
        rows = rows_of(np.random.default_rng(2), 400)
        rows["amount"][0] = rows["wealth"][1] = 1e12
        assert twins_of(rows, rows_of(np.random.default_rng(3), 400)).twins <= 3
        assert twins_of(rows, rows).are_too_many

    def test_with_another_label_are_no_copies(self) -> None:
        rows = rows_of(np.random.default_rng(4), 400)
        other = rows | {"label": np.where(rows["label"] == "yes", "no", "yes").astype(object)}
        assert twins_of(rows, other).twins == 0

    def test_of_a_model_with_one_feature_are_found(self) -> None:
        rows = rows_of(np.random.default_rng(5), 800)
        del rows["wealth"]
        assert twins_of(rows, rows).are_too_many


class TestRowsThatAlwaysRepeat:
    @given(seed=st.integers(0, 50))
    def test_because_they_have_few_values_are_no_copies(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        found = twins_of(of_few_values(rng, 1_000), of_few_values(rng, 300))
        assert found.share > 0.9
        assert not found.are_too_many

    def test_because_the_same_customers_come_back_are_no_copies(self) -> None:
        customers = rows_of(np.random.default_rng(6), 200)
        train = {name: np.concatenate([column] * 6) for name, column in customers.items()}
        found = twins_of(train, customers)
        assert (found.share, found.usual_share) == (1.0, 1.0)
        assert not found.are_too_many


class TestBounds:
    @pytest.mark.parametrize(("train", "held"), [(0, 10), (10, 0), (1, 1), (1, 50)])
    def test_few_rows_are_never_too_many(self, train: int, held: int) -> None:
        rng = np.random.default_rng(7)
        assert not twins_of(rows_of(rng, train), rows_of(rng, held)).are_too_many

    def test_that_are_few_change_no_verdict(self) -> None:
        assert not TwinRows(rows=100, twins=19, usual_share=0).are_too_many
        assert not TwinRows(rows=1_000, twins=90, usual_share=0).are_too_many
        assert TwinRows(rows=1_000, twins=100, usual_share=0).are_too_many
