"""Monitors over HTTP: by which windows they judge, and how a person chooses them."""

from inference.registry.models import Model
from tests.driftline.api.conftest import Api


def test_lists_by_which_windows_each_monitor_judges(api: Api, flights: Model) -> None:
    items = api.get("/models/flights/monitors").json()["items"]

    assert [one["kind"] for one in items] == ["drift", "performance", "quality", "service"]
    assert {one["span"] for one in items} == {"auto"}
    assert items[0]["min_rows"] == 50


def test_a_span_that_was_chosen_stays_and_auto_lets_it_go(api: Api, flights: Model) -> None:
    chosen = api.send("PATCH", "/models/flights/monitors/drift", {"span": "28d"}).json()
    assert (chosen["span"], chosen["judged_span"]) == ("28d", "28d")

    released = api.send("PATCH", "/models/flights/monitors/drift", {"span": "auto"}).json()

    assert released["span"] == "auto"


def test_refuses_what_is_no_span_and_no_monitor(api: Api, flights: Model) -> None:
    refused = api.send("PATCH", "/models/flights/monitors/drift", {"span": "91d"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/span")

    assert api.send("PATCH", "/models/flights/monitors/weather", {"span": "day"}).status_code == 404


def test_reads_rolling_windows_and_refuses_other_steps(api: Api, flights: Model) -> None:
    assert api.get("/models/flights/metrics?metric=count&step=7d").status_code == 200
    assert api.get("/models/flights/metrics?metric=count&step=1d").status_code == 400


def test_windows_that_roll_over_more_than_a_year_are_measured_only_where_they_are_stored(
    api: Api, flights: Model
) -> None:
    three_years = (
        "/models/flights/metrics?metric=count&step=7d&from=2023-01-01T00:00:00Z&to=2026-01-01T00:00:00Z"
    )

    refused = api.get(three_years)
    api.send("PATCH", "/models/flights/monitors/service", {"span": "7d"})

    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_windows")
    assert "1,096 windows of 7 days from 2023-01-01 to 2026-01-01" in refused.json()["detail"]
    assert api.get(three_years).status_code == 200
