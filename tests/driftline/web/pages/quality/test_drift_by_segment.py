"""The page of drift shows each watched segment by itself: one camera, one device."""

import csv
import io
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client, override_settings
from msgspec.structs import replace
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from monitors.definitions.segments import declare_segment
from tests.markup import markup
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, give_reference, log, make_model, rows_of_a_day, work

pytestmark = pytest.mark.slow

A_DAY = timedelta(days=1)
LAST = DAY + A_DAY
RANGE = "from=2026-01-05&to=2026-01-06"


@pytest.fixture(scope="module")
def fleet(
    project: Project, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The key of a model with two watched devices, of which truck-b has another income on the last day."""
    with rows_of_many_tests(django_db_blocker), override_settings(HOME=tmp_path_factory.mktemp("home")):
        model = make_model(project)
        give_reference(model)
        for device in ("truck-a", "truck-b"):
            of_device = [{"tag": "device", "value": device}]
            declare_segment(model=model, name=device, conditions=of_device, actor="test")
        for day in (DAY, LAST):
            for device in ("truck-a", "truck-b"):
                rows = rows_of_a_day(day, 300, shift=3.0 if (day, device) == (LAST, "truck-b") else 0.0)
                log(model, [replace(row, id=f"{device}-{row.id}", tags={"device": device}) for row in rows])
        work(model)
        yield model.pk


@pytest.fixture
def model(fleet: int, db: None) -> Model:
    return Model.objects.get(pk=fleet)


def page_of(client: Client, query: str) -> str:
    return markup(client.get(f"/models/approvals/drift?{RANGE}{query}"))


def test_names_the_device_that_differs_first(client: Client, model: Model) -> None:
    page = page_of(client, "")

    table = page[page.index("Drift by segment") :]
    assert table.index(">truck-b</a>") < table.index(">truck-a</a>")
    assert "segment=truck-b" in table


def test_shows_the_drift_of_one_segment_as_the_api_does(client: Client, model: Model) -> None:
    quiet, moved = page_of(client, "&segment=truck-a"), page_of(client, "&segment=truck-b")

    assert "None of" in quiet
    assert "most often income" in moved
    assert '<option value="truck-b" selected>' in moved
    assert 'href="?from=-90d&amp;metric=decision&amp;segment=truck-b"' in moved


def test_leads_to_no_page_of_all_rows_from_the_cells_of_a_segment(client: Client, model: Model) -> None:
    assert "/features/income?" in page_of(client, "")
    assert "/features/income?" not in page_of(client, "&segment=truck-b")


def test_downloads_the_points_of_the_segment(client: Client, model: Model) -> None:
    answer = client.get(f"/models/approvals/data.csv?{RANGE}&metric=psi&span=day&segment=truck-b")

    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert {row["n"] for row in rows if row["feature"] == "income"} == {"300"}


def test_says_so_where_the_segment_has_no_rows(client: Client, model: Model) -> None:
    assert "There is no data in this range." in page_of(client, "&segment=truck-z")
