"""Story (a): days that differ by chance alone, and a release that loses one column of one segment."""

from datetime import UTC, datetime

import pandas as pd
import pytest

from driftline.demo.daily_rows import DAY
from driftline.demo.story import PART
from driftline.demo.tables import read_table
from driftline.demo.visits import LOST_COLUMN, MODEL, QUIET_DAYS, lose_column, make_plan


@pytest.fixture(scope="module")
def visits() -> pd.DataFrame:
    return read_table("visits")


class TestData:
    def test_every_person_year_is_there_with_readable_values(self, visits: pd.DataFrame) -> None:
        assert len(visits) == 20_190
        assert set(visits.columns) == {*MODEL.inputs.names, "label"}
        assert set(visits.plan) == {"free", "25%", "50%", "95%", "100%"}
        assert set(visits.health) == {"excellent", "good", "fair", "poor"}
        assert (visits.label == "visit").mean() == pytest.approx(0.69, abs=0.01)
        assert not visits.isna().any().any()


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
        assert fault.onset - plan.quiet_from == QUIET_DAYS * DAY + PART
        assert (fault.column, fault.segment, fault.end) == ("chronic_diseases", "plan:free", None)
        assert plan.quiet_from == plan.quiet_from.replace(hour=0, minute=0, second=0)
