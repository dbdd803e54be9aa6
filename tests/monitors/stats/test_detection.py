"""The benchmark of detection in its smallest form: what it says must not depend on luck."""

import numpy as np
import pytest

from monitors.definitions.models import MonitorKind
from monitors.definitions.services import DEFAULT_MIN_ROWS
from tests.performance.detection.__main__ import goal
from tests.performance.detection.contenders import MIN_ROWS, OURS, WITHIN, Ours
from tests.performance.detection.trials import Effort, Setting, run
from tests.performance.detection.worlds import Window


def setting_of(*, ours: float, rival: float, ours_alone: int, rival_alone: int, insufficient: float = 0.0):
    """What `run` says of one cell and one course, as far as `goal` reads it."""
    return {
        "groups": {
            "all": {
                "insufficient": {OURS: insufficient, "rival": 0.0},
                "power": {"mean": {OURS: ours, "rival": rival, "weaker": 0.0}},
                "ours_alone": {"mean": {"rival": ours_alone}},
                "rival_alone": {"mean": {"rival": rival_alone}},
                "delay": {"gradual": {OURS: 15 - ours, "rival": 15 - rival}},
                "ours_first": {"gradual": {"rival": ours_alone}},
                "rival_first": {"gradual": {"rival": rival_alone}},
            }
        }
    }


class TestGoal:
    @pytest.mark.parametrize(
        ("rival_alone", "is_sure"),
        [pytest.param(3, False, id="3 windows may be chance"), pytest.param(9, True, id="9 are not")],
    )
    def test_counts_what_the_best_rival_saw_and_ours_did_not(self, rival_alone, is_sure):
        behind = setting_of(ours=0.5, rival=0.6, ours_alone=1, rival_alone=rival_alone)
        level = setting_of(ours=0.6, rival=0.6, ours_alone=2, rival_alone=2)

        counted = goal([behind, level], "all")

        assert (counted["cells"], counted["as_powerful"], counted["surely_weaker"]) == (2, 1, is_sure)
        assert (counted["courses"], counted["no_slower"], counted["surely_slower"]) == (2, 1, is_sure)

    @pytest.mark.parametrize(("rival", "excused"), [(0.19, 1), (0.2, 0)])
    def test_insufficient_is_a_miss_unless_nobody_sees_anything(self, rival, excused):
        setting = setting_of(ours=0.0, rival=rival, ours_alone=0, rival_alone=2, insufficient=1.0)

        assert goal([setting], "all")["as_powerful"] == excused


def test_a_window_below_a_monitors_least_rows_counts_as_missed():
    reference = Window({"x": np.arange(1_000.0)})

    said = {
        rows: (ours := Ours(reference, rows, seed=0)).loudness(ours.measure({"x": np.full(rows, 9e9)}))
        for rows in (MIN_ROWS - 1, MIN_ROWS)
    }

    assert DEFAULT_MIN_ROWS[MonitorKind.DRIFT] == MIN_ROWS
    assert np.isnan(said[MIN_ROWS - 1])
    assert said[MIN_ROWS] > 1


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore")  # Evidently's own imports warn
def test_dependent_days_stay_quiet_where_others_alarm_and_power_is_not_lost():
    setting = run(
        WITHIN,
        Setting(rows=100, days=20, rows_a_day=50),
        Effort(tuning=1, testing=1, quiet=14, shifted=2),
        seed=1,
    )

    as_shipped = {name: numbers["per_1000_as_shipped"] for name, numbers in setting["groups"].items()}
    assert as_shipped["dependent"]["driftline"] < 150
    assert as_shipped["dependent"]["KS + BH"] > 900
    assert as_shipped["independent"]["driftline"] < 150
    counted = goal([setting], "all")
    assert counted["as_powerful"] == counted["cells"] == 7
    assert setting["groups"]["all"]["power"]["mean"]["driftline"] > 0.1
