"""Reading metric points as JSON, CSV and Parquet."""

import csv
import io

import pyarrow.parquet as pq
import pytest

from driftline.base.http.exports import csv_cell
from inference.registry.models import Model
from monitors.metrics.store.models import MetricPoint
from tests.driftline.api.conftest import Api
from tests.worlds.every_kind import DAY, NOW
from tests.worlds.points import store_points

PATH = "/models/flights/metrics?metric=psi"
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0)


@pytest.fixture
def points(flights: Model) -> list[MetricPoint]:
    return store_points(
        *(
            MetricPoint(
                model=flights,
                role="champion",
                span="day",
                start=MIDNIGHT - age * DAY,
                metric="psi",
                feature=feature,
                value=None if age == 3 else age / 10,
                n=age,
                status="no_data" if age == 3 else "ok",
            )
            for age in (1, 2, 3)
            for feature in ("origin", "=cmd|' /C calc'!A0")
        )
    )


def test_of_which_metrics_there_are_is_listed_with_units_and_steps(api: Api) -> None:
    listed = {metric["name"]: metric for metric in api.get("/metrics").json()["items"]}

    assert listed["latency_p99"] == {
        "name": "latency_p99",
        "kind": "service",
        "title": "Latency, 99th percentile",
        "unit": "ms",
        "lower_is_better": True,
        "subject_kind": "rows",
        "steps": ["hour", "day", "week", "month"],
    }
    assert listed["domain_auc"]["steps"] == ["day"]
    assert listed["psi"]["subject_kind"] == "feature"


def test_come_oldest_first_and_page_by_page(api: Api, points: list[MetricPoint]) -> None:
    first = api.get(f"{PATH}&limit=4").json()
    rest = api.get(f"{PATH}&limit=4&cursor={first['next']}").json()

    ns = [point["n"] for point in first["items"] + rest["items"]]
    assert ns == [3, 3, 2, 2, 1, 1]
    assert rest["next"] is None
    assert first["items"][0]["value"] is None
    assert first["items"][0]["status"] == "no_data"


def test_are_narrowed_by_feature_and_time(api: Api, points: list[MetricPoint]) -> None:
    since = (MIDNIGHT - 2 * DAY).isoformat().replace("+00:00", "Z")

    items = api.get(f"{PATH}&feature=origin&from={since}&to=now").json()["items"]

    assert [(item["feature"], item["n"]) for item in items] == [("origin", 2), ("origin", 1)]


@pytest.mark.parametrize(
    ("metric", "feature", "kind"),
    [
        ("psi", "origin", "feature"),
        ("psi", "score", "answer"),
        ("class_recall", "late", "class"),
        ("recall_gap", "origin", "segment_feature"),
        ("recall", "", "rows"),
    ],
)
def test_say_what_their_feature_names(api: Api, flights: Model, metric: str, feature: str, kind: str) -> None:
    store_points(
        MetricPoint(
            model=flights, role="champion", span="day", start=MIDNIGHT - DAY, metric=metric, feature=feature, n=0,
            status="no_data",
        )
    )  # fmt: skip

    [point] = api.get(f"/models/flights/metrics?metric={metric}").json()["items"]

    assert point["subject_kind"] == kind


def test_no_csv_cell_is_a_formula(api: Api, points: list[MetricPoint]) -> None:
    answer = api.get(PATH, accept="text/csv")

    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode())))
    assert answer["Content-Disposition"] == 'attachment; filename="flights-psi.csv"'
    assert {row["feature"] for row in rows} == {"origin", "'=cmd|' /C calc'!A0"}
    assert [row["n"] for row in rows] == ["3", "3", "2", "2", "1", "1"]


def test_parquet_keeps_text_and_types(api: Api, points: list[MetricPoint]) -> None:
    answer = api.get(PATH, accept="application/vnd.apache.parquet")

    table = pq.read_table(io.BytesIO(answer.content))
    assert set(table["feature"].to_pylist()) == {"origin", "=cmd|' /C calc'!A0"}
    assert table["start"].to_pylist()[0] == MIDNIGHT - 3 * DAY
    assert table["value"].null_count == 2


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "-A1", "@x", "\tx", "\rx"])
def test_formula_starts_get_an_apostrophe(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("number", [-1.5, "-1.5", "+1", "-1e3"])
def test_negative_numbers_stay_numbers(number: float | str) -> None:
    assert csv_cell(number) == str(number)


def test_drift_without_a_reference_says_so(api: Api, flights: Model) -> None:
    told = api.get("/models/flights/drift").json()

    assert (told["items"], told["reference"], told["n"]) == ([], None, 0)
