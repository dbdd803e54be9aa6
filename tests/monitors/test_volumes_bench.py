"""The volumes benchmark measures what it says: worlds that only their fault changes, and counts of incidents."""

from typing import Any

import numpy as np
import pytest
from django.db.models import Sum
from sklearn.metrics import roc_auc_score

from monitors.metrics.store.models import MetricPoint
from tests.performance.volumes.replay import StreamReplay
from tests.performance.volumes.tables import OURS, first_notice, names_the_cause, per_1000_days
from tests.performance.volumes.worlds import BROKEN_FROM, FAULTS, QUIET_WORLDS, MadeTraffic, TrafficDay, Usual

pytestmark = pytest.mark.slow

USUAL = Usual(spread=10.0, least=0.0, largest=100.0, other_unit=12.0)
FAULT = {fault.name: fault for fault in FAULTS}


def _traffic(fault: str = "", volume: int = 400) -> MadeTraffic:
    return MadeTraffic(QUIET_WORLDS[0], FAULT.get(fault), volume, seed=3)


def _auc(days: list[TrafficDay]) -> float:
    return float(
        roc_auc_score(np.concatenate([d.labels for d in days]), np.concatenate([d.score for d in days]))
    )


class TestWorlds:
    @pytest.mark.parametrize("world", QUIET_WORLDS, ids=lambda world: world.name)
    def test_give_a_reference_of_short_days_and_gaps_before_the_first_day(self, world: Any) -> None:
        days = MadeTraffic(world, None, 400, seed=3).reference(10_000)

        rows = [len(day) for day in days]
        assert days[-1].number == -1
        assert rows[-1] < 0.3 * max(rows)
        assert 0 in rows[1:-1]
        assert sum(rows) < 11_000

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
    def test_a_fault_changes_nothing_before_it_and_something_after(self, fault: Any) -> None:
        broken, quiet = _traffic(fault.name), _traffic()

        last_quiet, first_broken = (
            [t.day(n, USUAL) for t in (broken, quiet)] for n in (BROKEN_FROM - 1, BROKEN_FROM)
        )

        assert _same(*last_quiet)
        assert not _same(*first_broken)

    def test_labels_follow_the_score_until_performance_breaks(self) -> None:
        traffic = _traffic("performance", volume=4_000)

        before, after = ([traffic.day(first + n, USUAL) for n in range(10)] for first in (0, BROKEN_FROM))

        assert _auc(before) == pytest.approx(0.90, abs=0.01)
        assert _auc(after) == pytest.approx(0.68, abs=0.02)

    def test_a_silence_ends_at_noon_of_the_second_day(self) -> None:
        traffic = _traffic("silence")

        days = [traffic.day(BROKEN_FROM + number, USUAL) for number in range(3)]

        assert len(days[0]) == 0
        assert days[1].seconds.min() >= 12 * 3_600
        assert days[2].seconds.min() < 12 * 3_600


def _same(day: TrafficDay, other: TrafficDay) -> bool:
    arrays = ((d.seconds, d.score, d.labels, *d.features.values()) for d in (day, other))
    return day.labels_come == other.labels_come and all(map(np.array_equal, *arrays))


class TestNumbers:
    def test_an_incident_of_before_is_not_a_notice_of_the_fault(self) -> None:
        result = _result(_incident(BROKEN_FROM - 2, "age"))

        assert first_notice(result, OURS) is None
        assert not names_the_cause(result)

    def test_the_first_incident_in_time_is_the_notice(self) -> None:
        result = _result(_incident(BROKEN_FROM + 9, "age"), _incident(BROKEN_FROM + 3, "visits"))

        assert first_notice(result, OURS) == 3
        assert names_the_cause(result)

    def test_a_silence_that_is_noticed_a_week_later_is_missed(self) -> None:
        late, in_time = (
            _result(_incident(BROKEN_FROM + day, "", metric="silence")) | {"fault": "silence", "feature": ""}
            for day in (7, 2)
        )

        assert first_notice(late, OURS) is None
        assert first_notice(in_time, OURS) == 2
        assert names_the_cause(in_time)

    def test_an_incident_of_a_rule_about_something_else_is_no_notice(self) -> None:
        result = _result(_incident(BROKEN_FROM + 3, "age", metric="label_coverage"))

        assert first_notice(result, OURS) is None
        assert not names_the_cause(result)

    def test_a_problem_that_began_before_the_fault_is_another_one(self) -> None:
        older = _result(_incident(BROKEN_FROM + 3, "age", began=BROKEN_FROM))
        in_its_week = _result(_incident(BROKEN_FROM + 3, "age", began=BROKEN_FROM + 1))

        assert first_notice(older, OURS) is None
        assert first_notice(in_its_week, OURS) == 3

    def test_incidents_are_counted_per_thousand_days(self) -> None:
        results = [_result(_incident(5, "age")), _result()]

        assert per_1000_days(results, OURS) == pytest.approx(1_000 / 240)


def _incident(
    day: float, feature: str, *, metric: str = "drifted_features", began: float | None = None
) -> dict[str, Any]:
    began = day if began is None else began
    return {"rule": "a rule", "metric": metric, "day": day, "began": began, "causes": [feature]}


def _result(*incidents: dict[str, Any]) -> dict[str, Any]:
    return {"fault": "mean", "feature": "age", "days": 120, "incidents": list(incidents), "rivals": {}}


@pytest.mark.django_db
class TestStreamReplay:
    def test_measures_every_row_and_opens_nothing_in_a_quiet_fortnight(self) -> None:
        traffic = _traffic(volume=60)
        replay = StreamReplay(traffic)

        incidents = replay.run(15)

        rows = sum(len(traffic.day(number, USUAL)) for number in range(15))
        counted = MetricPoint.objects.filter(metric="count", span="day", role="champion", version="")
        assert counted.aggregate(rows=Sum("value")) == {"rows": rows}
        assert incidents == []
