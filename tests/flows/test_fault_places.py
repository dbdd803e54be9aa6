"""A broken input is named with its segment and its hour, and with what it did to the quality of the answers."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Incident
from monitors.alerts.story import OPENED, gather
from monitors.definitions.segments import set_segments
from monitors.rules.models import Transition
from monitors.rules.services import create_rule
from tests.worlds.approvals import DAY, give_reference, label, log, rows_of_a_day, truths, work

pytestmark = pytest.mark.slow

ONE_DAY = timedelta(days=1)
ONSET = 6  # the hour from which rows lose their income


@pytest.fixture
def watched(project: Project, model: Model) -> Model:
    set_segments(model=model, features=["region"], actor="test")
    give_reference(model)
    create_rule(
        project=project,
        model=model,
        actor="test",
        name="Data quality failure",
        metric="faulty_features",
        threshold=0,
    )
    return model


def without_income(row: SentPrediction, number: int, *, regions: set[str], onset: int) -> SentPrediction:
    """Lose a row's income from an hour of its day on, and answer it with no better than a coin."""
    if number < onset * 300 // 24 or row.features["region"] not in regions:
        return row
    return replace(row, features=row.features | {"income": None}, probabilities=0.4 + 0.2 * (number % 2))


def without_some_income(row: SentPrediction, number: int) -> SentPrediction:
    """Lose the income of one row in ten of the first four hours, and of one in four of the others."""
    is_lost = number in (7, 17) if number < 20 else number % 4 == 0
    return replace(row, features=row.features | {"income": None}) if is_lost else row


def send_until_broken(model: Model, *, regions: set[str], onset: int = ONSET) -> Transition:
    """Send three good days, then one that is broken in some regions, each with its labels, and let it end."""
    for number in range(5):
        rows = rows_of_a_day(DAY + number * ONE_DAY, 300)
        labels = truths(rows, seed=number)
        if number == 3:
            rows = [without_income(row, at, regions=regions, onset=onset) for at, row in enumerate(rows)]
        log(model, rows)
        label(model, labels)
        work(model)
    return Transition.objects.get(kind="opened")


class TestPlace:
    def test_names_the_segment_and_the_hour_where_rows_of_one_segment_are_broken(
        self, watched: Model
    ) -> None:
        opened = send_until_broken(watched, regions={"south"})

        cause = opened.detail["causes"][0]
        assert (cause["feature"], cause["segment"]) == ("income", "region:south")
        assert cause["since"] == (DAY + 3 * ONE_DAY + timedelta(hours=ONSET)).isoformat().replace(
            "+00:00", "Z"
        )
        assert "nearly all where region:south" in cause["evidence"]
        assert cause["evidence"].endswith("since 8 Jan 06:00 UTC")

    def test_names_no_segment_where_all_are_broken(self, watched: Model) -> None:
        opened = send_until_broken(watched, regions={"south", "north"})

        cause = opened.detail["causes"][0]
        assert cause["feature"] == "income"
        assert "segment" not in cause
        assert cause["evidence"].endswith("since 8 Jan 06:00 UTC")

    def test_names_no_hour_where_the_day_began_broken(self, watched: Model) -> None:
        opened = send_until_broken(watched, regions={"south"}, onset=0)

        assert "since" not in opened.detail["causes"][0]

    def test_names_no_hour_where_the_rows_before_it_may_be_whole_by_chance(self, watched: Model) -> None:
        for number in range(5):
            rows = rows_of_a_day(DAY + number * ONE_DAY, 120)
            if number == 3:
                rows = [without_some_income(row, at) for at, row in enumerate(rows)]
            log(watched, rows)
            work(watched)

        cause = Transition.objects.get(kind="opened").detail["causes"][0]
        assert cause["feature"] == "income"
        assert "since" not in cause


class TestEffect:
    def test_the_message_says_what_it_did_to_quality_with_intervals(self, watched: Model) -> None:
        opened = send_until_broken(watched, regions={"south"})
        handle_transition(opened.pk)

        story = gather(
            event=OPENED,
            event_id="1",
            at=opened.at,
            incident=Incident.objects.get(),
            transition=opened,
            causes=(),
            ongoing=(),
        )

        whole, south = [text for name, text in story.facts if name == "Quality" and "estimated" not in text]
        assert whole.startswith("ROC AUC 0.")
        assert whole.endswith("in the 3 days before")
        assert south.startswith("ROC AUC where region:south 0.")
        [effect] = [effect for effect in story.effects if effect.segment == "region:south"]
        assert effect.lower < effect.value < effect.upper < effect.before
