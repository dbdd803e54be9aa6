"""What cannot be measured is an error by itself; what lies beside it is measured."""

from datetime import timedelta
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from driftline.base.work import attempts
from inference.registry.models import Model
from monitors.metrics.answers import performance
from monitors.metrics.inputs import quality
from monitors.metrics.services import measure
from monitors.metrics.store.models import MetricPoint
from monitors.rules.judging import judge as rule_judge
from monitors.rules.judging.judge import judge
from monitors.rules.services import create_rule
from monitors.summaries.models import StaleWindow
from monitors.summaries.services import measure_hours
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.fixture
def model(db: None, tmp_path: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Model:
    settings.HOME = tmp_path
    monkeypatch.setattr(attempts, "RETRY_AFTER", timedelta(0))
    model = make_model(Project.objects.create(slug="p", name="P"))
    log(model, rows_of_a_day(DAY, 100))
    work(model)
    return model


def status(metric: str, feature: str = "") -> str:
    return MetricPoint.objects.get(span="day", version="", metric=metric, feature=feature).status


def measure_all(model: Model) -> None:
    measure_hours(model_id=model.pk, hours=[DAY])
    while measure(model.pk):
        pass


def test_a_feature_that_cannot_be_measured_stops_no_other(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = quality.quality_points

    def broken(summary: Any, *rest: Any, **named: Any) -> Any:
        if "income" in summary.features:
            raise ZeroDivisionError("no rows of income")
        return honest(summary, *rest, **named)

    monkeypatch.setattr(quality, "quality_points", broken)

    measure_all(model)

    assert (status("missing_share", "income"), status("missing_share", "region")) == ("error", "ok")
    assert (status("count"), status("label_coverage")) == ("ok", "unripe")
    [window] = StaleWindow.objects.failed()
    assert window.error == "income: ZeroDivisionError: no rows of income"


def test_a_monitor_that_cannot_be_measured_stops_no_other(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("nothing")

    monkeypatch.setattr(performance, "performance_points", broken)

    measure_all(model)

    assert (status("label_coverage"), status("count")) == ("error", "ok")
    assert status("missing_share", "income") == "ok"


def test_a_window_that_cannot_be_measured_is_an_error_until_it_can(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:

        def segment_summaries(*_: Any, **__: Any) -> Any:
            raise ZeroDivisionError("no subject")

        broken.setattr("monitors.metrics.services.segment_summaries", segment_summaries)
        measure_all(model)
        assert {point.status for point in MetricPoint.objects.filter(span="day", start=DAY)} == {"error"}
        assert StaleWindow.objects.failed().count() == 2

    measure_all(model)

    assert status("count") == "ok"
    assert not MetricPoint.objects.filter(status="error").exists()
    assert not StaleWindow.objects.exists()


def test_a_rule_that_cannot_be_judged_stops_no_other(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("broken", "sound"):
        create_rule(
            project=model.project,
            model=model,
            actor="test",
            name=name,
            metric="count",
            threshold=1,
            min_rows=1,
        )
    honest = rule_judge._judge_rule
    judged = []

    def judge_rule(rule: Any, *rest: Any) -> Any:
        if rule.name == "broken":
            raise ZeroDivisionError("no rule")
        judged.append(rule.name)
        return honest(rule, *rest)

    monkeypatch.setattr(rule_judge, "_judge_rule", judge_rule)
    measure_all(model)
    while judge(model.pk):
        pass

    assert set(judged) == {"sound"}
    assert model.pending_evaluation.error == "Rule 'broken': ZeroDivisionError: no rule"
