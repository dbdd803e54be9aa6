"""Which models the clock alone gives something to judge."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from driftline.base.accounts.models import Project
from driftline.base.work.work_rows import touch
from inference.prediction_log.models import PredictionChunk
from inference.registry.models import Model
from inference.registry.services import archive_model, create_model
from monitors.definitions.models import MonitorKind
from monitors.rules.models import Rule
from monitors.rules.selectors import models_to_judge
from monitors.rules.services import create_rule
from monitors.summaries.models import StaleWindow
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths, work

ONE_DAY, A_MOMENT = timedelta(days=1), timedelta(seconds=1)
AFTER_A_DAY = DAY + ONE_DAY


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> None:
    settings.HOME = tmp_path


@pytest.fixture
def project(db: None) -> Project:
    return Project.objects.create(slug="bank", name="Bank")


def watch(model: Model, metric: str, **fields: object) -> Rule:
    return create_rule(
        project=model.project, model=model, actor="test", name=metric, metric=metric, threshold=0, **fields
    )


def watch_no_labels(model: Model) -> None:
    """Else each hour's labels ripen too."""
    model.monitors.filter(kind=MonitorKind.PERFORMANCE).update(enabled=False)


def send_days(model: Model, days: int, *, leave_out: int = 0) -> None:
    """Log days of labelled rows, each `leave_out`th without a label."""
    for number in range(days):
        rows = rows_of_a_day(DAY + number * ONE_DAY, 120)
        log(model, rows)
        label(model, [one for n, one in enumerate(truths(rows)) if not leave_out or n % leave_out])
    work(model)
    PredictionChunk.objects.update(end_stored_at=F("end"))  # as if each had arrived when it happened


class TestModelsToJudge:
    @pytest.mark.slow
    def test_are_those_whose_window_closed_since_their_rule_looked(self, project: Project) -> None:
        watched, unwatched = make_model(project), make_model(project, "unwatched")
        watch(watched, "count")
        for model in (watched, unwatched):
            send_days(model, 2)  # the first of them is closed, and judged by now

        assert models_to_judge(AFTER_A_DAY + ONE_DAY - A_MOMENT) == set()
        assert models_to_judge(AFTER_A_DAY + ONE_DAY) == {watched.pk}

    @pytest.mark.slow
    def test_are_not_those_whose_events_stand_still_while_history_is_sent(self, project: Project) -> None:
        model = make_model(project)
        watch(model, "count")
        log(model, rows_of_a_day(DAY, 120))
        work(model)

        assert models_to_judge(timezone.now()) == set()

    @pytest.mark.slow
    def test_are_not_those_whose_rule_is_off(self, project: Project) -> None:
        model = make_model(project)
        watch(model, "count", enabled=False)
        send_days(model, 1)

        assert models_to_judge(AFTER_A_DAY) == set()

    @pytest.mark.slow
    def test_are_found_for_one_feature_and_for_all_of_them(self, project: Project) -> None:
        one, every, none = (make_model(project, name) for name in ("one", "every", "none"))
        for model, feature in ((one, "income"), (every, "*"), (none, "unknown")):
            watch(model, "missing_share", feature=feature)
            watch_no_labels(model)
            send_days(model, 1)

        assert models_to_judge(AFTER_A_DAY) == {one.pk, every.pk}

    @pytest.mark.slow
    def test_wait_while_the_closed_window_is_still_measured(self, project: Project) -> None:
        model = make_model(project)
        watch(model, "count")
        watch_no_labels(model)
        send_days(model, 1)
        touch(StaleWindow, [(model.pk, "day", DAY)], fields=("model_id", "span", "start"))

        assert models_to_judge(AFTER_A_DAY) == set()

    @pytest.mark.slow
    def test_leave_out_what_is_archived(self, project: Project) -> None:
        model = make_model(project)
        watch(model, "count")
        send_days(model, 1)
        assert models_to_judge(AFTER_A_DAY) == {model.pk}

        archive_model(model=model, is_archived=True, actor="test")

        assert models_to_judge(AFTER_A_DAY) == set()

    @pytest.mark.slow
    def test_wait_until_labels_have_ripened(self, project: Project) -> None:
        model = create_model(
            project=project, name="slow", task="binary", actor="test", objectives={"label_lag_hours": 24}
        )
        watch(model, "accuracy", span="hour")
        send_days(model, 1, leave_out=5)
        first_ripe = DAY + timedelta(hours=1 + 24)

        assert models_to_judge(first_ripe - A_MOMENT) == set()
        assert models_to_judge(first_ripe) == {model.pk}

    @pytest.mark.slow
    def test_wait_for_a_rule_of_every_window_while_that_is_still_measured(self, project: Project) -> None:
        model = make_model(project)
        watch(model, "count", no_data="ok")
        watch_no_labels(model)
        send_days(model, 1)
        assert models_to_judge(AFTER_A_DAY) == {model.pk}

        touch(StaleWindow, [(model.pk, "day", DAY)], fields=("model_id", "span", "start"))

        assert models_to_judge(AFTER_A_DAY) == set()

    @pytest.mark.slow
    def test_are_found_by_as_many_queries_for_many_rules_as_for_one(self, project: Project) -> None:
        model = make_model(project)
        watch(model, "count", no_data="ok")
        others = [
            watch(model, metric, no_data="ok", enabled=False) for metric in ("throughput", "error_rate")
        ]
        watch_no_labels(model)
        send_days(model, 1)

        def queries() -> int:
            with CaptureQueriesContext(connection) as asked:
                assert models_to_judge(AFTER_A_DAY) == {model.pk}
            return len(asked)

        of_one = queries()
        model.rules.filter(pk__in=[rule.pk for rule in others]).update(enabled=True)

        assert queries() == of_one
