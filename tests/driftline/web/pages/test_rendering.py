"""One chart of a page alone, as a figure and as a file."""

import csv
import io

import pytest
from django.test import Client

from inference.registry.models import Model
from tests.worlds.approvals import DAY, give_reference, log, rows_of_a_day, work


@pytest.fixture
def measured(model: Model) -> Model:
    give_reference(model)
    log(model, rows_of_a_day(DAY, 300))
    work(model)
    return model


@pytest.mark.slow
def test_a_chart_is_given_to_plotly_as_it_stands_on_the_page(client: Client, measured: Model) -> None:
    page = f"/models/{measured.name}/latency"
    assert "chart=count&amp;as=figure" in client.get(page).text

    figure = client.get(page, {"chart": "count", "as": "figure"}).json()

    assert figure["layout"]["title"]["text"].startswith("Predictions a")
    assert [(trace["type"], sum(trace["y"])) for trace in figure["data"]] == [("bar", 300)]


@pytest.mark.slow
def test_a_chart_is_a_table_with_its_windows(client: Client, measured: Model) -> None:
    answer = client.get(f"/models/{measured.name}/latency", {"chart": "count", "as": "csv"})

    assert answer["Content-Disposition"] == 'attachment; filename="count.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["start"][:10] for row in rows} == {"2026-01-05"}
    assert sum(float(row["predictions: value"]) for row in rows) == 300


@pytest.mark.slow
@pytest.mark.parametrize(("chart", "form", "status"), [("nothing", "csv", 404), ("count", "png", 400)])
def test_what_there_is_not_is_refused(
    client: Client, measured: Model, chart: str, form: str, status: int
) -> None:
    answer = client.get(f"/models/{measured.name}/latency", {"chart": chart, "as": form})

    assert answer.status_code == status
