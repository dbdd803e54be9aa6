"""What people say that features should be: how it is said, and that windows are judged by it from then on."""

from datetime import timedelta
from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry
from driftline.base.periods import rfc3339
from inference.registry.models import Model
from monitors.metrics.store.models import MetricPoint
from tests.driftline.api.conftest import Api
from tests.worlds.approvals import DAY, give_reference, log, make_model, rows_of_a_day, work

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


@pytest.fixture(scope="module")
def watched_model(api: Api) -> Model:
    """A model with a day of rows."""
    model = make_model(api.project)
    log(model, rows_of_a_day(DAY, 200))
    work(model)
    return model


@pytest.fixture
def watched(watched_model: Model, tmp_path: Any, settings: Any) -> Model:
    settings.HOME = tmp_path
    return Model.objects.get(pk=watched_model.pk)


def expect(api: Api, features: dict[str, Any]) -> Any:
    return api.send("PATCH", "/models/approvals/schema", {"features": features})


def faulty(model: Model) -> list[str]:
    point = MetricPoint.objects.filter(model=model, metric="faulty_features", span="day").first()
    return point.detail["counted"] if point and point.detail else []


@pytest.mark.slow
def test_days_are_judged_by_what_is_said_and_by_the_reference_where_nothing_is(
    api: Api, watched: Model
) -> None:
    expect(api, {"income": {"least": -1, "most": 1}, "region": {"categories": ["north"], "tolerance": 0.9}})
    work(watched)
    assert faulty(watched) == ["income"]

    expect(api, {"income": None, "region": {"categories": ["north"]}})
    work(watched)
    assert faulty(watched) == ["region"]

    expect(api, {"region": {}})
    give_reference(watched)
    work(watched)
    assert faulty(watched) == []
    assert not watched.expectations.exists()


def test_tells_what_the_reference_shows_beside_what_is_expected(api: Api, watched: Model) -> None:
    give_reference(watched)
    expect(api, {"income": {"least": -4.5, "missing_share": 0.1}})

    income, region = api.get("/models/approvals/schema").json()["items"]

    assert (income["feature"], income["kind"]) == ("income", "number")
    assert income["learnt"]["rows"] == 2_000
    assert income["learnt"]["least"] < -2
    assert income["expected"] == {
        "least": -4.5, "most": None, "categories": None, "missing_share": 0.1, "tolerance": 0.0,
    }  # fmt: skip
    assert (region["learnt"]["categories"], region["expected"]) == (["north", "south"], None) or (
        region["learnt"]["categories"] == ["south", "north"]
    )


@pytest.mark.parametrize(
    ("feature", "said", "pointer"),
    [
        ("ghost", {"least": 0}, "/features/ghost"),
        ("income", {"least": 2, "most": 1}, "/features/income/most"),
        ("income", {"categories": ["a"]}, "/features/income/categories"),
        ("income", {"missing_share": 1.5}, "/features/income/missing_share"),
        ("region", {"least": 0}, "/features/region/least"),
        ("region", {"categories": []}, "/features/region/categories"),
        ("region", {"categories": ["north", ""]}, "/features/region/categories/1"),
        ("region", {"categories": ["north"], "tolerance": -0.1}, "/features/region/tolerance"),
    ],
)
def test_refuses_what_cannot_be_expected_and_names_it(
    api: Api, watched: Model, feature: str, said: dict[str, Any], pointer: str
) -> None:
    answer = expect(api, {"income": {"least": 0}, feature: said})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert not watched.expectations.exists()
    assert not AuditEntry.objects.filter(action="model.expect").exists()


def test_says_who_changed_it(api: Api, watched: Model) -> None:
    expect(api, {"income": {"least": 0}})
    expect(api, {"income": {"least": 1}})

    entry = AuditEntry.objects.filter(action="model.expect").latest("pk")

    assert entry.before["income"]["least"] == 0
    assert entry.after["income"]["least"] == 1


@pytest.mark.slow
def test_drift_lists_the_values_that_a_feature_cannot_have(api: Api, watched: Model) -> None:
    give_reference(watched)
    rows = rows_of_a_day(DAY + timedelta(days=1), 50)
    rows[3].features["income"] = 1.7e9
    log(watched, rows)
    work(watched)

    period = f"from={rfc3339(DAY)}&to={rfc3339(DAY + timedelta(days=2))}"
    [found] = api.get(f"/models/approvals/drift?{period}").json()["impossible"]
    points = api.get(f"/models/approvals/metrics?metric=impossible_share&feature=income&{period}").json()

    assert (found["feature"], found["kind"], found["rows"], found["value"]) == (
        "income",
        "impossible",
        1,
        1.7e9,
    )
    assert found["most"] < 1.7e9
    assert [point["value"] for point in points["items"] if point["value"]] == [0.02]
