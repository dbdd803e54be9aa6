"""Story (a): days that differ by chance alone, and a release that loses one column of one segment."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from driftline.demo.draws import DAY, DailyDraws
from driftline.demo.tables import read_table
from driftline.demo.visits import LOST_COLUMN, MODEL, QUIET_DAYS, lose_column, make_plan

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def visits() -> pd.DataFrame:
    return read_table("visits")


@pytest.fixture
def draws(visits: pd.DataFrame) -> DailyDraws:
    return DailyDraws(visits, rows_a_day=100, label_lag=2 * HOUR, seed=1)


class TestData:
    def test_every_person_year_is_there_with_readable_values(self, visits: pd.DataFrame) -> None:
        assert len(visits) == 20_190
        assert set(visits.columns) == {*MODEL.inputs.names, "label"}
        assert set(visits.plan) == {"free", "25%", "50%", "95%", "100%"}
        assert set(visits.health) == {"excellent", "good", "fair", "poor"}
        assert (visits.label == "visit").mean() == pytest.approx(0.69, abs=0.01)
        assert not visits.isna().any().any()


class TestDraws:
    def test_a_day_has_the_same_rows_in_every_replay_however_it_is_cut(
        self, visits: pd.DataFrame, draws: DailyDraws
    ) -> None:
        again = DailyDraws(visits, rows_a_day=100, label_lag=2 * HOUR, seed=1)

        whole = draws.between(FIRST, FIRST + DAY)
        parts = again.between(FIRST, FIRST + 6 * HOUR) + again.between(FIRST + 6 * HOUR, FIRST + DAY)

        assert whole == parts
        assert len({row.id for row in whole}) == 100
        assert all(FIRST <= row.at < FIRST + DAY for row in whole)

    def test_days_differ(self, draws: DailyDraws) -> None:
        first, second = draws.between(FIRST, FIRST + DAY), draws.between(FIRST + DAY, FIRST + 2 * DAY)

        assert [row.place for row in first] != [row.place for row in second]

    def test_labels_follow_their_rows_by_the_lag(self, draws: DailyDraws) -> None:
        known = draws.labelled_between(FIRST + DAY, FIRST + DAY + 2 * HOUR)

        assert known == draws.between(FIRST + 22 * HOUR, FIRST + DAY)


class TestRelease:
    def test_loses_one_column_of_one_segment_and_nothing_else(self, visits: pd.DataFrame) -> None:
        names = MODEL.inputs.names
        for values in visits[names].head(200).to_numpy(object):
            sent = dict(zip(names, lose_column(values), strict=True))
            expected = dict(zip(names, values, strict=True))
            if expected["plan"] == "free":
                expected[LOST_COLUMN] = None
            assert sent == expected

    def test_goes_out_after_two_quiet_weeks_and_is_planned_before(self) -> None:
        plan = make_plan("default", datetime(2026, 11, 28, 12, tzinfo=UTC))

        [fault] = plan.faults
        assert fault.onset - plan.quiet_from == QUIET_DAYS * DAY + 6 * HOUR
        assert (fault.column, fault.segment, fault.end) == ("chronic_diseases", "plan:free", None)
        assert plan.quiet_from == plan.quiet_from.replace(hour=0, minute=0, second=0)
