"""Drift of all features together: from logged rows to points, a rule, the API and the drift page."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from msgspec.structs import replace

from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project
from driftline.base.errors import Problem
from driftline.operations.progress import progress_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.files.datasets import path_of, store_reference
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Incident
from monitors.definitions.models import Reference
from monitors.definitions.services import build_reference
from monitors.metrics.rows import ended_days, joint
from monitors.metrics.rows.ended_days import read_days
from monitors.metrics.selectors import drift_rows
from monitors.metrics.store.models import JointNullDraws, MetricPoint, UnreadDay
from monitors.rules.models import Rule
from monitors.rules.services import create_rule
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.worlds.approvals import DAY, log, reference_csv, rows_of_a_day, work

pytestmark = pytest.mark.slow

A_DAY = timedelta(days=1)
NAMES = ("domain_auc", "pca_reconstruction_error")


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw null distributions less often: enough for effects as strong as these."""
    drawn = joint.draw_joint_null
    monkeypatch.setattr(joint, "draw_joint_null", lambda *args, **named: drawn(*args, **named, draws=6))


@pytest.fixture
def owner(transactional_db: None) -> User:
    return User.objects.create_user("owner@bank.example")


@pytest.fixture
def project(owner: User) -> Project:
    return create_project(slug="bank", name="Bank", owner=owner)


def day_of(start: datetime, *, apart: bool = False, n: int = 200) -> list[SentPrediction]:
    """Rows in which the rich live in the north; `apart` has as many of each, but anywhere."""
    rows = rows_of_a_day(start, n)
    if apart:
        return rows
    return [
        replace(row, features=row.features | {"region": "north" if row.features["income"] > 0 else "south"})
        for row in rows
    ]


def give_reference(model: Model, days: int = 3) -> Reference:
    rows = [row for back in range(1, days + 1) for row in day_of(DAY - back * A_DAY)]
    store_reference(
        model=model, version="1", stream=reference_csv(rows), content_type="text/csv", actor="test"
    )
    reference = Reference.objects.get(model=model)
    build_reference(reference.pk)
    return reference


def send(model: Model, *days: bool) -> None:
    """Send days of which some are apart, and the first rows of the day after, which ends the last."""
    for number, apart in enumerate(days):
        log(model, day_of(DAY + number * A_DAY, apart=apart))
    log(model, day_of(DAY + len(days) * A_DAY, n=5))
    work(model)


def compare(model: Model) -> int:
    done = 0
    while days := read_days(model.pk):
        done += days
    return done


def points(model: Model, start: datetime = DAY) -> dict[str, MetricPoint]:
    return {
        point.metric: point
        for point in MetricPoint.objects.filter(model=model, metric__in=NAMES, start=start)
    }


class TestADay:
    def test_whose_features_no_longer_go_together_is_found_though_none_of_them_moved(
        self, model: Model
    ) -> None:
        give_reference(model)
        send(model, True)

        compare(model)

        found = points(model)
        assert set(found) == set(NAMES)
        assert found["domain_auc"].status in ("warning", "critical")
        alone = drift_rows(model=model, start=DAY, end=DAY + A_DAY)["items"]
        assert {row["decision"] for row in alone} == {"stable"}
        features = found["domain_auc"].detail["features"]
        assert {one["feature"] for one in features} == {"income", "region"}
        assert sum(one["share"] for one in features) == pytest.approx(1, abs=0.001)

    def test_as_usual_is_quiet_and_says_what_its_limit_is(self, model: Model) -> None:
        give_reference(model)
        send(model, False)

        compare(model)

        for point in points(model).values():
            assert point.status == "ok"
            assert point.n == 178
            assert point.lower < point.value < point.upper
            assert point.value < point.threshold
            assert "6 random parts of the reference, each of 178 rows" in point.detail["why"]

    def test_is_compared_once_it_has_ended(self, model: Model) -> None:
        give_reference(model)
        log(model, day_of(DAY))
        work(model)

        assert compare(model) == 0
        assert UnreadDay.objects.count() == 1

    def test_is_not_compared_again_until_it_has_other_rows(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        give_reference(model)
        send(model, False)
        compare(model)
        before = points(model)["domain_auc"].value
        UnreadDay.objects.create(model=model, start=DAY)
        with monkeypatch.context() as patch:
            patch.delattr(joint, "sample_rows")
            assert compare(model) == 1

        late = [replace(row, id=f"late-{row.id}") for row in day_of(DAY, apart=True)]
        log(model, late)
        work(model)
        compare(model)

        point = points(model)["domain_auc"]
        assert point.value != before
        assert point.revision == 2

    def test_holds_back_what_counts_as_computed_where_a_rule_waits_for_it(self, model: Model) -> None:
        give_reference(model)
        send(model, False)
        assert progress_of(model).computed_until > DAY + A_DAY  # type: ignore[operator]
        rule = {"name": "all together", "metric": "domain_auc", "threshold": 0.7}
        create_rule(project=model.project, model=model, actor="test", **rule)
        work(model)
        before = progress_of(model).computed_until

        compare(model)

        work(model)
        assert before == DAY
        assert progress_of(model).computed_until is not None
        assert progress_of(model).computed_until > DAY + A_DAY  # type: ignore[operator]

    def test_of_few_rows_is_insufficient(self, model: Model) -> None:
        give_reference(model)
        log(model, day_of(DAY, n=49))
        log(model, day_of(DAY + A_DAY, n=5))
        work(model)

        compare(model)

        assert [(one.status, one.value, one.n) for one in points(model).values()] == [
            ("insufficient", None, 49)
        ] * 2
        assert "49 rows are too few" in points(model)["domain_auc"].detail["why"]

    def test_of_few_rows_is_done_at_once_with_others_and_a_larger_one_is_read(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        give_reference(model)
        for number in range(6):
            log(model, day_of(DAY + number * A_DAY, n=178 if number == 2 else 5))
        work(model)
        read: list[datetime] = []
        monkeypatch.setattr(
            joint, "_read", lambda day, read_rows=joint._read: read.append(day.start) or read_rows(day)
        )

        compare(model)

        found = MetricPoint.objects.filter(model=model, metric="domain_auc", span="day").order_by("start")
        assert found[0].detail["why"] == "5 rows are too few to compare; 50 are needed."
        assert [point.n for point in found] == [5, 5, 178, 5, 5]
        assert read == [DAY + 2 * A_DAY]
        assert UnreadDay.objects.count() == 1  # of today

    def test_is_read_in_part_where_it_is_large(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        give_reference(model)
        send(model, True)
        monkeypatch.setattr(joint, "MAX_READ_ROWS", 100)

        compare(model)

        point = points(model)["domain_auc"]
        assert 50 <= point.n < 178
        assert point.detail["columns"] == 2


class TestTheReference:
    def test_is_split_once_for_days_of_one_size(self, model: Model) -> None:
        give_reference(model)
        send(model, False, False)

        compare(model)

        assert JointNullDraws.objects.count() == 1
        assert (
            points(model)["domain_auc"].detail["why"]
            == points(model, DAY + A_DAY)["domain_auc"].detail["why"]
        )

    def test_of_ten_rows_is_too_small(self, model: Model) -> None:
        rows = day_of(DAY - A_DAY, n=10)
        store_reference(
            model=model, version="1", stream=reference_csv(rows), content_type="text/csv", actor="test"
        )
        build_reference(Reference.objects.get(model=model).pk)
        send(model, False)

        compare(model)

        assert [point.status for point in points(model).values()] == ["insufficient"] * 2
        assert "reference of 10 rows is too small" in points(model)["domain_auc"].detail["why"]

    def test_whose_file_is_gone_is_told(self, model: Model) -> None:
        reference = give_reference(model)
        send(model, False)
        path_of(reference.dataset).unlink()

        compare(model)

        assert points(model)["domain_auc"].status == "error"
        assert "file is missing" in points(model)["domain_auc"].detail["why"]

    def test_leaves_out_what_a_day_does_not_have(self, model: Model) -> None:
        give_reference(model)
        rows = day_of(DAY)
        log(model, [replace(row, features={"income": row.features["income"]}) for row in rows])
        log(model, day_of(DAY + A_DAY, n=5))
        work(model)

        compare(model)

        point = points(model)["domain_auc"]
        assert (point.status, point.detail["left_out"], point.detail["columns"]) == ("ok", ["region"], 1)


class TestWhoIsTold:
    def test_a_rule_opens_an_incident(self, project: Project, model: Model) -> None:
        give_reference(model)
        rule = create_rule(
            project=project, model=model, actor="test", name="apart", metric="domain_auc", threshold=0.6
        )
        send(model, False, True)

        compare(model)
        work(model)

        opened = rule.transitions.get(kind="opened")
        handle_transition(opened.pk)
        assert opened.window_start == DAY + A_DAY
        assert Incident.objects.get().title.startswith("approvals: Domain classifier AUC ")

    @pytest.mark.parametrize(
        ("fields", "pointer"), [({"span": "hour"}, "/span"), ({"segment": "region:north"}, "/segment")]
    )
    def test_no_rule_may_ask_for_what_is_not_measured(
        self, project: Project, model: Model, fields: dict[str, str], pointer: str
    ) -> None:
        with pytest.raises(Problem) as refused:
            create_rule(
                project=project,
                model=model,
                actor="test",
                name="x",
                metric="domain_auc",
                threshold=0.6,
                **fields,
            )

        assert refused.value.errors[0].pointer == pointer
        assert not Rule.objects.exists()

    def test_the_answer_of_the_api_and_the_page_name_the_features_that_separate(
        self, owner: User, model: Model, settings: Any
    ) -> None:
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
        give_reference(model)
        send(model, True)
        compare(model)
        client = PagesClient()
        client.force_login(owner)

        page = markup(client.get(f"/models/{model.name}/drift?from=2026-01-05&to=2026-01-06"))
        together = drift_rows(model=model, start=DAY, end=DAY + A_DAY)["together"]

        assert together["decision"] == "drifted"
        assert [row["metric"] for row in together["items"]] == list(NAMES)
        section = page.split("All features together")[1].split("</section>")[0]
        for feature in ("income", "region"):
            assert f">{feature}</a>" in section
        assert "Domain classifier AUC" in section
        assert together["items"][0]["why"] in section

    def test_of_a_day_that_goes_on_the_newest_compared_day_before_it_speaks(self, model: Model) -> None:
        give_reference(model)
        send(model, True)
        compare(model)

        said = {
            days: drift_rows(model=model, start=DAY + days * A_DAY, end=DAY + (days + 1) * A_DAY)["together"]
            for days in (0, 1, 2, 8)
        }

        assert (said[0]["decision"], said[0]["why"]) == ("drifted", "")
        assert (said[1]["decision"], said[1]["items"]) == ("drifted", said[0]["items"])
        assert said[1]["why"] == "6 Jan 2026 is compared soon after it has ended."
        assert said[2]["decision"] == "drifted"
        assert said[2]["why"].startswith("No day of this period has been compared")
        assert (said[8]["decision"], said[8]["items"]) == ("not_available", [])

    def test_a_model_that_keeps_no_rows_says_so(self, model: Model) -> None:
        give_reference(model)
        update_model(model=model, actor="test", rows_kept="none")
        send(model, False)

        assert compare(model) == 0
        together = drift_rows(model=model, start=DAY, end=DAY + A_DAY)["together"]
        assert (together["decision"], together["items"]) == ("not_available", [])
        assert together["why"].startswith("Rows are not kept")

    def test_a_model_that_fell_silent_is_compared_by_the_clock(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        give_reference(model)
        log(model, day_of(DAY))
        work(model)
        later = timezone.now() + 2 * A_DAY
        monkeypatch.setattr(ended_days, "now", lambda: later)

        assert compare(model) == 1
        assert set(points(model)) == set(NAMES)
