"""The page of a run shows its rollout and lets people pause it, resume it and roll back; settings hold the plan."""

import pytest
from django.test import Client

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from monitors.workflows.models import Workflow
from monitors.workflows.rollouts.plan import staged_plan
from monitors.workflows.services import configure_workflow
from tests.markup import markup
from tests.worlds.rollouts import RolloutWorld, run_after_gate

pytestmark = pytest.mark.slow


@pytest.fixture
def world(project: Project, db: None) -> RolloutWorld:
    world = run_after_gate(project)
    world.advance()
    return world


@pytest.fixture
def path(world: RolloutWorld) -> str:
    return f"/models/{world.model.name}/runs/{world.run.pk}"


class TestRunPage:
    def test_shows_the_share_the_plan_and_what_comes_next(self, client: Client, path: str) -> None:
        page = markup(client.get(path))

        assert "The challenger answers 5.0% of the requests." in page
        assert "<li>5% for 10 min and 200 rows</li><li>50% for 10 min and 200 rows</li>" in page
        assert "then watched for 1 h beside the old champion" in page
        assert "The guards look for the first time within a minute." in page

    def test_shows_each_guard_with_its_number_and_unit(
        self, client: Client, path: str, world: RolloutWorld
    ) -> None:
        world.send(2_000, 150)
        world.check()

        page = markup(client.get(path))

        assert "150 rows of the challenger at 5.0%, in 150 requests; a step ends by time and rows" in page
        assert "0.00% of 150 requests failed, 0.00% of the champion&#x27;s 2,000" in page
        assert "p99 latency" in page
        assert "<small>ms</small>" in page

    def test_draws_the_share_over_time(self, client: Client, path: str) -> None:
        figure = client.get(f"{path}?chart=weight&as=figure").json()

        assert list(figure["data"][0]["y"]) == [5.0]

    def test_asks_before_it_rolls_back_and_says_why_afterwards(
        self, client: Client, path: str, world: RolloutWorld
    ) -> None:
        asked = markup(client.get(f"{path}?confirm=roll_back"))
        assert "Version 1 answers every request again within seconds" in asked

        answer = client.post(path, {"action": "roll_back", "reason": "complaints"}, follow=True)

        assert "was rolled back from version 2 to version 1: complaints." in markup(answer)
        assert world.deployment.canary is None

    def test_pauses_and_goes_on(self, client: Client, path: str, world: RolloutWorld) -> None:
        client.post(path, {"action": "pause"})
        paused = markup(client.get(path))
        assert "waits for a person to resume it: paused at 5.0% by" in paused
        assert "?confirm=resume" in paused

        client.post(path, {"action": "resume"})

        assert world.rollout.state == "progressing"

    def test_lets_people_approve_a_promotion_that_waits_for_them_after_the_last_share(
        self, client: Client, path: str, world: RolloutWorld
    ) -> None:
        for _ in range(2):
            world.let_pass(700)
            world.send(800, 250)
            Model.objects.filter(pk=world.model.pk).update(autonomy="approve")
            world.check()
        assert world.run.waiting_for == "a person to approve the promotion"

        asked = markup(client.get(f"{path}?confirm=approve"))
        assert "Version 2 will answer every request in the place of version 1." in asked
        client.post(path, {"action": "approve"})
        world.advance()

        assert world.deployment.champion.version == "2"

    def test_of_a_message_that_asks_to_approve_resumes_the_paused_rollout(
        self, client: Client, path: str
    ) -> None:
        client.post(path, {"action": "pause"})

        assert 'value="resume"' in markup(client.get(f"{path}?confirm=approve"))

    def test_shows_the_measured_repair(self, client: Client, path: str, world: RolloutWorld) -> None:
        for _ in range(2):
            world.let_pass(700)
            world.send(800, 250)
            world.check()
        world.send_pairs(600, old_is_wrong=0.3)
        world.check()

        page = markup(client.get(path))

        assert "Measured repair: Log loss 0." in page
        assert "of the old champion on 600 labelled requests that both answered" in page
        assert ", better." in page


class TestSettings:
    def test_hold_the_plan_as_lines(self, client: Client, model: Model) -> None:
        page = markup(client.get(f"/models/{model.name}/workflow"))

        assert "5% for 1 h and 1,000 rows 25% for 1 h and 1,000 rows" in page

    def test_take_other_steps_and_keep_the_rest(self, client: Client, model: Model) -> None:
        sent = {"rollout_steps": "10% for 30 min and 500 requests", "rollout_report_only": "latency, split"}

        answer = client.post(f"/models/{model.name}/workflow", sent)

        assert answer.status_code == 302
        assert Workflow.of(model).rollout == staged_plan() | {
            "steps": [{"weight": 0.1, "seconds": 1800, "rows": 0, "requests": 500}],
            "report_only": ["latency", "split"],
        }

    def test_keep_weights_of_more_digits_than_the_page_shows(self, client: Client, model: Model) -> None:
        steps = [{"weight": weight, "seconds": 60, "rows": 1, "requests": 0} for weight in (1 / 3, 2 / 3)]
        configure_workflow(model=model, actor="ada", rollout={"steps": steps})
        lines = "33.33333333% for 1 min and 1 rows\r\n66.66666667% for 1 min and 1 rows"

        answer = client.post(
            f"/models/{model.name}/workflow", {"rollout_steps": lines, "rollout_watch_hours": "2"}
        )

        assert answer.status_code == 302
        kept = Workflow.of(model).rollout
        assert (kept["steps"], kept["watch_seconds"]) == (steps, 7_200)

    @pytest.mark.parametrize(
        ("field", "text", "message"),
        [
            ("rollout_steps", "a lot", "write one as 5% for 1 h and 1,000 rows"),
            ("rollout_steps", "50%\n25%", "The weight falls from 0.5 to 0.25"),
            ("rollout_report_only", "mood", "is no guard"),
            ("rollout_watch_hours", "", "Enter a number of hours."),
        ],
    )
    def test_say_beside_the_field_what_is_wrong(
        self, client: Client, model: Model, field: str, text: str, message: str
    ) -> None:
        answer = client.post(f"/models/{model.name}/workflow", {field: text})

        assert answer.status_code == 422
        assert message in markup(answer).replace("&#x27;", "'")
        assert Workflow.of(model).rollout == staged_plan()
