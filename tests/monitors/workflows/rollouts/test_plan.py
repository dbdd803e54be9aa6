"""A plan is read from JSON or from lines of text, and refused with what to write instead."""

from typing import Any

import pytest

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from monitors.workflows.models import Workflow
from monitors.workflows.rollouts.plan import PlannedStep, RolloutPlan, staged_plan
from monitors.workflows.rollouts.plan_text import UnreadableStep, read_steps, write_length, write_steps
from monitors.workflows.services import configure_workflow
from tests.worlds.approvals import make_model


class TestPlan:
    @pytest.mark.parametrize("plan", [staged_plan(), RolloutPlan().as_json()])
    def test_is_read_as_it_was_written(self, plan: dict[str, Any]) -> None:
        assert RolloutPlan.parse(plan).as_json() == plan

    @pytest.mark.parametrize(
        ("plan", "pointer", "message"),
        [
            ([], "", "Use an object"),
            ({"stages": []}, "/stages", "'stages' is not known here"),
            ({"steps": {}}, "/steps", "Use a list"),
            ({"steps": [{"weight": 0.1}] * 21}, "/steps", "at most 20"),
            ({"steps": [{"weight": 0}]}, "/steps/0/weight", "above 0 and below 1"),
            ({"steps": [{"weight": 1.0}]}, "/steps/0/weight", "above 0 and below 1"),
            ({"steps": [{"weight": True}]}, "/steps/0/weight", "above 0 and below 1"),
            ({"steps": [{"weight": float("nan")}]}, "/steps/0/weight", "above 0 and below 1"),
            ({"steps": [{"seconds": 60}]}, "/steps/0/weight", "above 0 and below 1"),
            (
                {"steps": [{"weight": 0.5}, {"weight": 0.25}]},
                "/steps/1/weight",
                "The weight falls from 0.5 to 0.25; let each step have a larger weight",
            ),
            ({"steps": [{"weight": 0.5}, {"weight": 0.5}]}, "/steps/1/weight", "a larger weight"),
            ({"steps": [{"weight": 0.5, "seconds": -1}]}, "/steps/0/seconds", "whole number from 0"),
            ({"steps": [{"weight": 0.5, "requests": 1.5}]}, "/steps/0/requests", "whole number from 0"),
            (
                {"steps": [{"weight": 0.5, "seconds": 90_000}]},
                "/steps/0/seconds",
                "it would ask a person; raise max_step_seconds",
            ),
            ({"watch_seconds": 10**9}, "/watch_seconds", "from 0 to 2,592,000"),
            ({"check_seconds": 0}, "/check_seconds", "from 1 to 3,600"),
            ({"report_only": ["mood"]}, "/report_only/0", "is no guard; use some of failures"),
        ],
    )
    def test_that_is_wrong_says_where_and_what_to_write(
        self, plan: object, pointer: str, message: str
    ) -> None:
        with pytest.raises(Problem) as refused:
            RolloutPlan.parse(plan)

        assert refused.value.errors[0].pointer == f"/workflow/rollout{pointer}"
        assert message in refused.value.errors[0].detail


class TestLines:
    def test_are_read_as_they_are_written(self) -> None:
        steps = (PlannedStep(0.05, 3600, 1000), PlannedStep(0.125, 90, 0), PlannedStep(0.3333333333, 0, 7, 5))

        text = write_steps(steps)

        assert text.splitlines()[1] == "12.5% for 90 s"
        assert RolloutPlan.parse({"steps": read_steps(text)}).steps == steps

    def test_need_neither_time_nor_rows(self) -> None:
        assert read_steps("5%\n\n 25 % for 1.5 h ") == [
            {"weight": 0.05, "seconds": 0, "rows": 0, "requests": 0},
            {"weight": 0.25, "seconds": 5400, "rows": 0, "requests": 0},
        ]

    @pytest.mark.parametrize("line", ["five percent", "5% for an hour", "5 for 1 h", "5% for 1 h and rows"])
    def test_that_cannot_be_read_say_how_one_is_written(self, line: str) -> None:
        with pytest.raises(UnreadableStep, match="write one as 5% for 1 h and 1,000 rows"):
            read_steps(line)

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (5400, "90 min"), (172_800, "2 d")]
    )
    def test_write_a_length_in_its_largest_whole_unit(self, seconds: int, text: str) -> None:
        assert write_length(seconds) == text


@pytest.mark.django_db
def test_a_new_model_is_rolled_out_in_stages() -> None:
    model = make_model(Project.objects.create(slug="bank", name="Bank"))

    workflow = configure_workflow(model=model, actor="ada", pairs=500)

    assert Workflow.of(model).rollout == workflow.rollout == staged_plan()
