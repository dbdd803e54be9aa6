"""A regression's errors by its features: from a reference and logged rows to estimates of ended days."""

from datetime import datetime, timedelta
from io import BytesIO

import numpy as np
import pytest
from msgspec.structs import replace

from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project
from driftline.base.periods import parse_timestamp, rfc3339
from driftline.operations.progress import progress_of
from inference.prediction_log.items import LabelItem
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from inference.registry.services import create_model, update_model
from monitors.definitions.models import MonitorKind, Reference
from monitors.definitions.services import build_reference
from monitors.metrics.rows import expected_errors
from monitors.metrics.rows.ended_days import read_days
from monitors.metrics.selectors import longer_points
from monitors.metrics.store.models import ExpectedErrors, MetricPoint, UnreadDay
from monitors.rules.services import create_rule
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.worlds.approvals import DAY, label, log, work

pytestmark = pytest.mark.slow

A_DAY = timedelta(days=1)
SPREAD = {"city": 1.0, "country": 5.0}


@pytest.fixture
def owner(transactional_db: None) -> User:
    return User.objects.create_user("owner@bank.example")


@pytest.fixture
def project(owner: User) -> Project:
    return create_project(slug="bank", name="Bank", owner=owner)


@pytest.fixture
def model(project: Project) -> Model:
    model = create_model(
        project=project, name="rides", task="regression", actor="test", objectives={"label_lag_hours": 0}
    )
    model.monitors.filter(kind="drift").update(enabled=False)  # which reads days as well
    give_reference(model)
    return model


def rides(day: datetime, n: int, *, country: float = 0.2) -> tuple[list[SentPrediction], np.ndarray]:
    """Rides of a day and how long they took: those in the country are foretold five times worse."""
    rng = np.random.default_rng(day.toordinal())
    place = rng.choice(["country", "city"], n, p=[country, 1 - country])
    answer = 20 + rng.normal(size=n)
    truth = answer + rng.normal(size=n) * np.array([SPREAD[one] for one in place])
    rows = [
        SentPrediction(
            id=f"{day:%Y%m%d}-{number}",
            timestamp=rfc3339(day + A_DAY * (number / n)),
            version="1",
            features={"place": str(place[number]), "hour": float(24 * number // n)},
            prediction=float(answer[number]),
        )
        for number in range(n)
    ]
    return rows, truth


def give_reference(model: Model, days: int = 20, rows: int = 100) -> None:
    lines = ["place,hour,label,prediction,timestamp"]
    for back in range(1, days + 1):
        for row, took in zip(*rides(DAY - back * A_DAY, rows), strict=True):
            told = (row.features["place"], row.features["hour"], took, row.prediction, row.timestamp)
            lines.append(",".join(map(str, told)))
    stream = BytesIO("\n".join(lines).encode())
    store_reference(model=model, version="1", stream=stream, content_type="text/csv", actor="test")
    build_reference(Reference.objects.get(model=model).pk)


def send(model: Model, *days: list[SentPrediction]) -> None:
    """Send days from the first on, and the first rows of the day after, which ends the last."""
    for rows in days:
        log(model, rows)
    log(model, rides(DAY + len(days) * A_DAY, 5)[0])
    work(model)


def read(model: Model) -> None:
    while read_days(model.pk):
        work(model)


def point(
    model: Model, metric: str = "estimated_mae", start: datetime = DAY, version: str = ""
) -> MetricPoint:
    return MetricPoint.objects.get(
        model=model, metric=metric, span="day", start=start, role="champion", version=version
    )


class TestADay:
    def test_of_harder_rows_is_estimated_worse_though_its_predictions_are_as_usual(
        self, model: Model
    ) -> None:
        rows, truth = rides(DAY, 400, country=0.8)
        send(model, rows)
        assert not MetricPoint.objects.filter(metric="estimated_mae", span="day", start=DAY).exists()

        read(model)

        answer = np.array([row.prediction for row in rows], float)
        mae = point(model)
        assert mae.lower <= np.abs(truth - answer).mean() <= mae.upper
        assert mae.value > 2.5
        assert (mae.n, mae.detail["estimated_by"]) == (400, "features")
        assert "features explain" in mae.detail["why"]
        assert point(model, "estimated_rmse").value > mae.value
        assert point(model, version="1").value == mae.value

    def test_keeps_its_estimate_when_labels_come_and_they_agree(self, model: Model) -> None:
        rows, truth = rides(DAY, 400, country=0.8)
        send(model, rows)
        read(model)
        before = point(model)

        label(
            model,
            [
                LabelItem(id=row.id, label=float(took), timestamp=parse_timestamp(row.timestamp))
                for row, took in zip(rows, truth, strict=True)
            ],
        )
        work(model)
        read(model)

        after = point(model)
        assert (after.value, after.lower, after.upper, after.revision) == (
            before.value,
            before.lower,
            before.upper,
            before.revision,
        )
        assert after.lower <= point(model, "mae").value <= after.upper

    def test_is_counted_again_when_rows_come_late(self, model: Model) -> None:
        rows, _ = rides(DAY, 200)
        send(model, rows)
        read(model)
        before = point(model)
        log(model, [replace(row, id=f"late-{row.id}") for row in rides(DAY, 200, country=1.0)[0]])
        work(model)
        read(model)

        after = point(model)

        assert (before.n, after.n) == (200, 400)
        assert after.value > before.value

    def test_is_read_in_part_where_it_is_large(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(expected_errors, "MAX_READ_ROWS", 100)
        send(model, rides(DAY, 400, country=0.8)[0])

        read(model)

        assert 80 <= point(model).n <= 130
        assert point(model).detail["estimated_by"] == "features"

    def test_without_a_feature_goes_by_the_size_of_the_prediction_and_says_so(self, model: Model) -> None:
        rows, _ = rides(DAY, 200)
        send(model, [replace(row, features={"hour": row.features["hour"]}) for row in rows])

        read(model)

        assert point(model).detail["estimated_by"] == "prediction"
        assert "do not have 'place'" in point(model).detail["why"]
        assert point(model).value is not None

    def test_of_levels_that_are_new_and_values_that_are_missing_is_estimated(self, model: Model) -> None:
        rows, _ = rides(DAY, 200)
        send(model, [replace(row, features={"place": "sea", "hour": None}) for row in rows])

        read(model)

        assert (point(model).n, point(model).detail["estimated_by"]) == (200, "features")

    def test_holds_back_what_counts_as_computed_where_a_rule_waits_for_it(self, model: Model) -> None:
        send(model, rides(DAY, 200)[0])
        rule = {"name": "estimated", "metric": "estimated_mae", "threshold": 3.0}
        create_rule(project=model.project, model=model, actor="test", **rule)
        work(model)
        before = progress_of(model).computed_until

        read(model)
        work(model)

        assert before == DAY
        after = progress_of(model).computed_until
        assert after is not None
        assert after > DAY + A_DAY


class TestOtherWindows:
    def test_a_week_is_the_sum_of_its_days(self, model: Model) -> None:
        send(model, *(rides(DAY + number * A_DAY, 150, country=0.8)[0] for number in range(7)))
        read(model)

        [week] = longer_points(
            model=model, metric="estimated_mae", start=DAY, end=DAY + 7 * A_DAY, step="week"
        )

        days = [point(model, start=DAY + number * A_DAY).value for number in range(7)]
        assert week.detail["estimated_by"] == "features"
        assert week.n == 1_050
        assert week.value == pytest.approx(np.mean(days))

    def test_an_hour_goes_by_the_size_of_the_prediction(self, model: Model) -> None:
        model.monitors.filter(kind=MonitorKind.PERFORMANCE).update(span="hour", is_span_chosen=True)
        send(model, rides(DAY, 400, country=0.8)[0])

        hour = MetricPoint.objects.filter(
            model=model, metric="estimated_mae", span="hour", version=""
        ).first()

        assert hour is not None
        assert hour.detail["estimated_by"] == "prediction"
        assert "an hour goes by its predictions" in hour.detail["why"]


class TestRowsThatCannotBeRead:
    def test_a_model_that_keeps_none_goes_by_the_size_of_the_prediction(self, model: Model) -> None:
        update_model(model=model, actor="test", rows_kept="none")
        send(model, rides(DAY, 200)[0])

        assert point(model).detail["estimated_by"] == "prediction"
        assert point(model).detail["why"].startswith("Rows are not kept")
        assert not UnreadDay.objects.exists()

    def test_features_that_are_let_go_are_not_learnt_from(self, model: Model) -> None:
        update_model(model=model, actor="test", privacy={"place": "summary"})
        build_reference(Reference.objects.get(model=model).pk)
        send(model, rides(DAY, 200)[0])

        read(model)

        assert point(model).detail["estimated_by"] == "prediction"
        assert "features explain" in point(model).detail["why"]
        assert not ExpectedErrors.objects.exists()

    def test_a_reference_of_ten_rows_estimates_nothing(self, project: Project) -> None:
        model = create_model(project=project, name="few", task="regression", actor="test")
        give_reference(model, days=1, rows=10)
        send(model, rides(DAY, 200)[0])

        read(model)

        measured = MetricPoint.objects.filter(model=model, span="day").values_list("metric", flat=True)
        assert "count" in measured
        assert "estimated_mae" not in measured


def test_the_page_and_the_api_say_what_an_estimate_goes_by(
    owner: User, model: Model, settings: object
) -> None:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]  # type: ignore[attr-defined]
    send(model, rides(DAY, 200)[0])
    read(model)
    client = PagesClient()
    client.force_login(owner)

    page = markup(client.get("/models/rides/performance?from=2026-01-05&to=2026-01-06"))
    answer = client.get(
        "/api/v1/models/rides/metrics",
        {"metric": "estimated_mae", "from": rfc3339(DAY), "to": rfc3339(DAY + A_DAY)},
    ).json()

    section = page.split("Estimated without labels")[1].split("</section>")[0]
    assert "Estimated from the features" in section
    assert "features explain" in section
    assert answer["items"][0]["detail"]["estimated_by"] == "features"
