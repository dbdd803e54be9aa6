"""Story (b): labels that change their meaning at one airport, and a training file that knows the answer."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from driftline.demo.claims import (
    CANDIDATE_AFTER,
    CLAIM,
    FLIGHTS_OF_MEAN,
    MEANING_AFTER,
    MODEL,
    NO_CLAIM,
    claim_of,
    make_plan,
)
from driftline.demo.tables import read_table


@pytest.fixture(scope="module")
def claims() -> pd.DataFrame:
    return read_table("claims")


class TestData:
    def test_no_input_is_known_only_later(self, claims: pd.DataFrame) -> None:
        assert set(claims.columns) == {*MODEL.inputs.names, "leaky_delay", "delay"}
        assert not claims.isna().any().any()

    def test_the_leaky_column_counts_the_flight_itself_and_the_honest_one_does_not(
        self, claims: pd.DataFrame
    ) -> None:
        capped = claims.delay.clip(-30, 180)

        leaky, honest = (
            np.corrcoef(claims.leaky_delay, capped)[0, 1],
            np.corrcoef(claims.recent_delay, capped)[0, 1],
        )

        assert honest < 0.3
        assert leaky > 0.5
        assert FLIGHTS_OF_MEAN * claims.leaky_delay.max() <= FLIGHTS_OF_MEAN * 180


class TestLabels:
    @pytest.mark.parametrize(
        ("origin", "delay", "before", "after"),
        [
            ("EWR", 16, CLAIM, CLAIM),
            ("EWR", 15, NO_CLAIM, CLAIM),
            ("EWR", 1, NO_CLAIM, CLAIM),
            ("EWR", 0, NO_CLAIM, NO_CLAIM),
            ("JFK", 15, NO_CLAIM, NO_CLAIM),
            ("JFK", 16, CLAIM, CLAIM),
        ],
    )
    def test_change_at_one_airport_only(self, origin: str, delay: float, before: str, after: str) -> None:
        assert claim_of(origin, delay, has_changed=False) == before
        assert claim_of(origin, delay, has_changed=True) == after


class TestPlan:
    def test_the_leaky_challenger_is_judged_before_labels_change(self) -> None:
        plan = make_plan("default", datetime(2026, 11, 28, 12, tzinfo=UTC))

        [fault] = plan.faults
        leaky, retrained = plan.challengers
        assert fault.onset - plan.quiet_from == MEANING_AFTER > CANDIDATE_AFTER
        assert (fault.column, fault.segment) == ("", "origin:EWR")
        assert (leaky.expected, retrained.expected) == ("rejected", "promoted")
