"""The demo's page, and the way back that an incident offers when a promotion came before it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client, override_settings
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import AuditEntry, Project, User
from driftline.base.clock import now
from driftline.demo.plan import ModelPlan, PlantedChallenger, PlantedFault, save_plan
from driftline.demo.progress import StoryProgress, save_story
from inference.registry.models import DeploymentChange, Model
from inference.registry.versions import external_version
from monitors.alerts.models import Incident
from monitors.workflows.models import Rollout, Run
from monitors.workflows.rollouts.plan import staged_plan
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY
from tests.worlds.moved_income import drift_of_income

ONE_DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def drifted(
    project: Project, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The key of an incident about the last of four days, of a model that was rolled forward the day before."""
    with rows_of_many_tests(django_db_blocker), override_settings(HOME=tmp_path_factory.mktemp("home")):
        drift_of_income(project, quiet=3, moved=2)
        yield Incident.objects.get().pk


@pytest.fixture
def incident(drifted: int, db: None) -> Incident:
    return Incident.objects.get(pk=drifted)


@pytest.fixture
def promoted(incident: Incident) -> Model:
    """The incident's model, of which version 2 was promoted on the day before."""
    model = incident.model
    deployment = model.deployment
    deployment.previous = external_version(model=model, version="1")
    deployment.champion = external_version(model=model, version="2")
    deployment.save()
    DeploymentChange.objects.create(
        model=model, generation=2, kind="promote", before={"champion": "1"}, after={"champion": "2"},
        event_time=incident.since - ONE_DAY, actor="ada@bank.example",
    )  # fmt: skip
    return model


class TestWayBack:
    @pytest.mark.slow
    def test_an_incident_after_a_promotion_offers_to_roll_back_and_asks_first(
        self, client: Client, incident: Incident, promoted: Model, owner: User
    ) -> None:
        page = markup(client.get(f"/incidents/{incident.pk}"))
        url = f"/models/approvals/deployment?do=rollback&incident={incident.pk}"
        asked = markup(client.get(url))
        generation = promoted.deployment.generation

        answer = client.post(url, {"generation": generation, "reason": f"INC-{incident.pk}"})

        assert "Roll back to version 1" in page
        assert url.replace("&", "&amp;") in page
        assert "Version 1 will answer every request in the place of version 2" in asked
        assert f'value="INC-{incident.pk}: ' in asked
        assert answer.url.endswith(f"/incidents/{incident.pk}")  # type: ignore[attr-defined]
        promoted.deployment.refresh_from_db()
        assert promoted.deployment.champion.version == "1"  # type: ignore[union-attr]
        assert AuditEntry.objects.get(action="deployment.rollback").actor == owner.email
        assert "do=rollback" not in markup(client.get(f"/incidents/{incident.pk}"))

    def test_nobody_who_may_not_deploy_is_offered_it(
        self, incident: Incident, promoted: Model, project: Project
    ) -> None:
        viewer = viewer_of(project)

        assert "Roll back" not in markup(viewer.get(f"/incidents/{incident.pk}"))
        assert viewer.post("/models/approvals/deployment?do=rollback", {"generation": 1}).status_code == 403

    def test_a_promotion_long_before_is_no_way_back(
        self, client: Client, incident: Incident, promoted: Model
    ) -> None:
        DeploymentChange.objects.update(event_time=incident.since - 30 * ONE_DAY)

        assert "Roll back" not in markup(client.get(f"/incidents/{incident.pk}"))


class TestDemo:
    def plant(self, home: Path, *, project: str = "bank") -> None:
        save_plan(
            home,
            ModelPlan(
                number=1,
                project=project,
                model="approvals",
                title="A release loses a column",
                data="Real rows.",
                started_at=now(),
                quiet_from=DAY,
                faults=[
                    PlantedFault(
                        what="Incomes are doubled.", onset=DAY + 3 * ONE_DAY, column="income", shown_at=now()
                    ),
                    PlantedFault(
                        what="Regions are lost.", onset=DAY + 30 * ONE_DAY, column="region", shown_at=DAY
                    ),
                ],
                challengers=[
                    PlantedChallenger(
                        what="It knows the answer.",
                        expected="rejected",
                        version="3",
                        decision="rejected",
                        held_out_gain=0.171,
                        live_gain=-0.052,
                        reason="Log loss is worse.",
                    )
                ],
            ),
        )

    def test_counts_what_was_found_and_missed_from_stored_incidents(
        self, client: Client, incident: Incident, home: Path
    ) -> None:
        self.plant(home)
        sent = StoryProgress(model="approvals", until=DAY + 40 * ONE_DAY, doing="quiet")
        save_story(home, sent)

        page = markup(client.get("/demo"))

        assert (
            "2 faults planted: 1 found, 1 missed, 1 with the right cause, 0 false alarms in 40 days of"
            in page
        )
        assert f'/incidents/{incident.pk}"' in page
        assert "Incomes are doubled." in page
        assert "0.171" in page
        assert "-0.052" in page

    def play(self, home: Path) -> None:
        """Play a quarter of what lies between the plan's first day and the present."""
        until = DAY + (now() - DAY) / 4
        save_story(home, StoryProgress(model="approvals", until=until, doing="quiet days"))

    def test_the_banner_says_where_the_story_is(self, client: Client, promoted: Model, home: Path) -> None:
        self.plant(home)
        self.play(home)

        banner = markup(client.get("/demo/progress"))

        assert "approvals: " in banner
        assert "quiet days" in banner
        assert 'value="25"' in banner

    def test_a_project_in_which_no_demo_plays_has_no_banner(
        self, client: Client, promoted: Model, home: Path
    ) -> None:
        self.plant(home, project="elsewhere")
        self.play(home)

        assert client.get("/demo/progress").content.strip() == b""
        assert 'id="demo"' not in markup(client.get("/models"))

    def test_an_incident_that_nothing_explains_is_a_false_alarm(
        self, client: Client, incident: Incident, home: Path
    ) -> None:
        save_plan(
            home,
            ModelPlan(
                number=1, project="bank", model="approvals", title="Quiet", data="Real rows.", started_at=now(),
                quiet_from=DAY,
            ),
        )  # fmt: skip

        page = markup(client.get("/demo"))

        assert "0 faults planted: 0 found, 0 missed, 0 with the right cause, 1 false alarm in" in page
        assert "False alarms" in page

    def test_is_in_the_navigation_of_its_project_alone(
        self, client: Client, incident: Incident, home: Path
    ) -> None:
        self.plant(home, project="elsewhere")

        page = markup(client.get("/demo"))

        assert "No demo plays in this project" in page
        assert ">Demo</a>" not in page


REPAIR = {
    "metric": "log_loss", "higher_is_better": False, "pairs": 1_204, "old": 0.58, "new": 0.54, "difference": -0.04,
    "lower": -0.06, "upper": -0.02, "verdict": "better",
}  # fmt: skip
REPAIRED = (
    "Measured repair: Log loss 0.5400 against 0.5800 of the old champion on 1,204 labelled requests that both "
    "answered: -0.0400 (-0.0600 to -0.0200), better"
)


class TestMeasuredRepair:
    @pytest.fixture
    def run(self, incident: Incident, promoted: Model) -> Run:
        """A run that the incident started, and that watches what it has promoted."""
        alert = incident.alerts.get()
        transition = alert.rule.transitions.filter(kind="opened").latest("window_end")
        run = Run.objects.create(
            model=promoted, transition=transition, trigger="rule", state="waiting", data_until=now(),
            champion=promoted.deployment.previous, challenger=promoted.deployment.champion,
        )  # fmt: skip
        Rollout.objects.create(
            run=run, plan=staged_plan(), state="watching", position=3, weight=1.0, since=now(), events_since=now(),
            next_check_at=now(), repair=REPAIR,
        )  # fmt: skip
        return run

    def test_is_on_the_page_of_the_incident(self, client: Client, incident: Incident, run: Run) -> None:
        assert REPAIRED in markup(client.get(f"/incidents/{incident.pk}"))

    def test_is_on_the_page_of_the_demo(
        self, client: Client, run: Run, tmp_path: Path, settings: object
    ) -> None:
        settings.HOME = tmp_path  # type: ignore[attr-defined]
        challenger = PlantedChallenger(what="Retrained.", expected="promoted", run=run.pk)
        save_plan(
            tmp_path,
            ModelPlan(
                number=1, project="bank", model="approvals", title="Labels change", data="Real rows.",
                started_at=now(), quiet_from=DAY, challengers=[challenger],
            ),
        )  # fmt: skip

        page = markup(client.get("/demo"))

        assert REPAIRED in page
        assert "Promoted" in page
