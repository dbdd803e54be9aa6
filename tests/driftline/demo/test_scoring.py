"""The demo's table: incidents against the plan of faults, counted as found, missed, false or not due yet."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from driftline.demo.plan import ModelPlan, PlantedFault, load_plans, save_plan
from driftline.demo.scoring import PATIENCE, FaultFinding, SeenIncident, score

DAY = timedelta(days=1)
QUIET = datetime(2026, 3, 1, tzinfo=UTC)
ONSET = QUIET + timedelta(days=14, hours=6)
SHOWN = datetime(2026, 11, 28, 12, tzinfo=UTC)


def plan(*faults: PlantedFault, model: str = "visits", number: int = 1) -> ModelPlan:
    return ModelPlan(
        number=number, project="default", model=model, title="A story", data="Real rows.", started_at=SHOWN,
        quiet_from=QUIET, faults=list(faults),
    )  # fmt: skip


def fault(**changes: object) -> PlantedFault:
    fields = {
        "what": "A column is lost.", "onset": ONSET, "end": ONSET + 3 * DAY, "shown_at": SHOWN,
        "column": "age", "segment": "plan:free",
    }  # fmt: skip
    return PlantedFault(**(fields | changes))


def incident(day: int, *, id: int = 1, lasted: int = 1, **changes: object) -> SeenIncident:
    """An incident about the day that lies so many days after the first one."""
    since = QUIET + day * DAY
    fields = {
        "id": id, "title": "Broken", "rule": "Data quality failure", "since": since, "opened_at": since + lasted * DAY,
        "resolved_at": None, "notified_at": SHOWN + timedelta(seconds=9), "columns": ["age"], "segments": ["plan:free"],
    }  # fmt: skip
    return SeenIncident(**(fields | changes))


class TestFindings:
    def test_the_first_incident_about_a_fault_found_it_and_the_seconds_count_from_when_it_could_be_seen(
        self,
    ) -> None:
        seen = [incident(15, id=2), incident(14, id=1)]

        [one] = score(plan(fault()), seen, now=SHOWN).faults

        assert one.finding is FaultFinding.FOUND
        assert one.incident is not None
        assert one.incident.id == 1
        assert [other.id for other in one.others] == [2]
        assert one.seconds_to_find == 9

    def test_an_alert_that_joined_an_older_incident_finds_a_fault_once(self) -> None:
        seen = [incident(2), incident(14, rule="ROC AUC below 0.65"), incident(15, rule="Feature drift")]

        result = score(plan(fault()), seen, now=SHOWN)

        assert result.faults[0].incident is not None
        assert result.faults[0].incident.rule == "ROC AUC below 0.65"
        assert list(result.faults[0].others) == list(result.unexplained) == []

    def test_the_cause_is_right_only_where_column_and_segment_are_named(self) -> None:
        def is_right(**changes: object) -> bool | None:
            [one] = score(plan(fault()), [incident(14, **changes)], now=SHOWN).faults
            return one.is_cause_right

        assert is_right() is True
        assert is_right(columns=["income", "age"]) is False
        assert is_right(segments=[]) is False

    def test_a_fault_of_labels_needs_no_column(self) -> None:
        [one] = score(plan(fault(column="")), [incident(14, columns=["income"])], now=SHOWN).faults

        assert one.is_cause_right is True

    def test_a_fault_is_missed_only_after_it_could_be_noticed_for_a_while(self) -> None:
        shown, hidden = plan(fault()), plan(fault(shown_at=None))

        assert score(shown, [], now=SHOWN + PATIENCE).faults[0].finding is FaultFinding.EXPECTED
        assert score(shown, [], now=SHOWN + 2 * PATIENCE).faults[0].finding is FaultFinding.MISSED
        assert score(hidden, [], now=SHOWN + 2 * PATIENCE).faults[0].finding is FaultFinding.EXPECTED


class TestFalseAlarms:
    def test_an_incident_before_the_fault_or_after_its_end_is_explained_by_nothing(self) -> None:
        early, during, late = incident(3, id=1), incident(14, id=2), incident(30, id=3)

        result = score(plan(fault()), [late, during, early], now=SHOWN)

        assert [one.id for one in result.unexplained] == [1, 3]
        assert result.faults[0].incident == during

    def test_an_incident_that_opens_later_about_days_of_the_fault_is_none(self) -> None:
        slow = incident(15, lasted=20)

        assert score(plan(fault()), [slow], now=SHOWN).unexplained == []

    def test_a_fault_that_goes_on_explains_all_that_follows(self) -> None:
        assert score(plan(fault(end=None)), [incident(40)], now=SHOWN).unexplained == []

    def test_what_opened_before_the_quiet_days_is_not_counted(self) -> None:
        assert score(plan(), [incident(-3)], now=SHOWN).unexplained == []


class TestPlans:
    def test_are_kept_as_written_in_the_order_of_the_page(self, tmp_path: Path) -> None:
        later = save_plan(tmp_path, plan(model="a", number=2))
        first = save_plan(tmp_path, plan(fault(), model="b"))

        assert load_plans(tmp_path) == [first, later]

    def test_a_home_without_a_demo_has_none(self, tmp_path: Path) -> None:
        assert load_plans(tmp_path) == []
