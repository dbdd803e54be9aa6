"""A vector on the pages: one row of the heat map, and a page that shows which number of it stands out."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client, override_settings
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project
from inference.vector_names import part_names
from tests.markup import markup
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, log, make_model, work
from tests.worlds.vectors import DIMENSION, give_reference, rows_with_vectors

LAST = DAY + timedelta(days=1)
RANGE = "from=2026-01-05&to=2026-01-06"


@pytest.fixture(scope="module", autouse=True)
def moved(
    project: Project, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A model with one quiet day and one on which the vectors moved."""
    with rows_of_many_tests(django_db_blocker), override_settings(HOME=tmp_path_factory.mktemp("home")):
        model = make_model(project)
        give_reference(model)
        log(model, rows_with_vectors(DAY, 400))
        log(model, rows_with_vectors(LAST, 400, shift=0.8))
        work(model)
        yield


def page_of(client: Client, address: str) -> str:
    return markup(client.get(f"/models/approvals/{address}"))


class TestHeatMap:
    def test_has_one_row_of_a_vector_that_says_how_long_it_is(self, client: Client) -> None:
        page = page_of(client, f"drift?{RANGE}")

        assert "vector of 48" in page
        assert "photo.projection_" not in page

    def test_is_narrowed_to_vectors(self, client: Client) -> None:
        page = page_of(client, f"drift?{RANGE}&kind=vector")

        assert "features/photo" in page
        assert "features/income" not in page


class TestPageOfAVector:
    def test_names_what_stands_out_and_shows_it_beside_the_reference(self, client: Client) -> None:
        page = page_of(client, f"features/photo?{RANGE}&day=2026-01-06")

        assert "photo is a vector of 48 numbers" in page
        assert any(f"Shown is {name}, which" in page for name in part_names("photo", DIMENSION))
        assert "Shift of the mean vector" in page
        assert "photo drifted" in page

    @pytest.mark.parametrize("more", ["", "&show=losses", "&by=quality"])
    def test_is_there_in_all_of_its_forms(self, client: Client, more: str) -> None:
        assert client.get(f"/models/approvals/features/photo?{RANGE}{more}").status_code == 200

    @pytest.mark.parametrize(
        "address",
        ["schema", "expectations/photo", "predictions", "quality", "segments", "settings", "privacy", ""],
    )
    def test_stands_beside_pages_that_list_features(self, client: Client, address: str) -> None:
        assert client.get(f"/models/approvals/{address}?{RANGE}").status_code in (200, 302, 404)
