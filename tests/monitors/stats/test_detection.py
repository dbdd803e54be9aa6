"""The benchmark of detection in its smallest form: what it says must not depend on luck."""

import pytest

from tests.performance.detection.__main__ import goal
from tests.performance.detection.trials import Effort, Setting, run


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore")  # Evidently's own imports warn
def test_dependent_days_stay_quiet_where_others_alarm_and_power_is_not_lost():
    setting = run(
        Setting(rows=100, days=20, rows_a_day=50), Effort(references=1, quiet=14, shifted=2), seed=1
    )

    as_shipped = {name: numbers["per_1000_as_shipped"] for name, numbers in setting["groups"].items()}
    assert as_shipped["dependent"]["driftline"] < 150
    assert as_shipped["dependent"]["KS + BH"] > 900
    assert as_shipped["independent"]["driftline"] < 150
    counted = goal([setting], "all")
    assert counted["as_powerful"] == counted["cells"] == 7
    assert setting["groups"]["all"]["power"]["mean"]["driftline"] > 0.1
