"""What the page of a model says where a range shows nothing, or little: each time the true reason."""

from datetime import timedelta

import pytest
from django.test import Client

from inference.registry.models import Model
from monitors.metrics.store.models import MetricPoint
from tests.markup import markup
from tests.worlds.approvals import DAY, give_reference, label, log, rows_of_a_day, truths, work
from tests.worlds.points import change_points

A_DAY = timedelta(days=1)


def tile_of(page: str, title: str) -> str:
    """The tile of a title, from its status on."""
    return next(part for part in page.split('<a class="tile ')[1:] if f"<h3>{title}" in part)


def page_of(client: Client, query: str = "") -> str:
    return markup(client.get(f"/models/approvals/{query}"))


class TestPredictions:
    def test_are_compared_with_a_reference_or_said_to_have_none(self, client: Client, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 10))

        assert "There is no reference to compare with." in page_of(client).split("<h2>Predictions</h2>")[1]

    @pytest.mark.slow
    def test_are_missing_from_the_range_and_not_from_the_reference(
        self, client: Client, model: Model
    ) -> None:
        give_reference(model)
        log(model, rows_of_a_day(DAY, 10))

        page = page_of(client, "?from=2026-03-01&to=2026-03-31")

        assert "The last days of this range have no predictions." in page
        assert "The reference holds no predictions" not in page


class TestPerformance:
    def test_has_no_predictions_in_a_range_without_data(self, client: Client, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 10))

        tile = tile_of(page_of(client, "?from=2026-03-01&to=2026-03-31"), "Performance")

        assert "no predictions in this range" in tile
        assert "no labels yet" not in tile

    @pytest.mark.slow
    def test_says_that_a_label_came_which_is_too_few(self, client: Client, model: Model) -> None:
        rows = rows_of_a_day(DAY, 30)
        log(model, [*rows, *rows_of_a_day(DAY + 2 * A_DAY, 1)])
        label(model, truths(rows[:1]))
        work(model)

        tile = tile_of(page_of(client), "Performance")

        assert "1 label, too few to judge" in tile
        assert tile.startswith("insufficient")

    @pytest.mark.slow
    @pytest.mark.parametrize(("raised", "status"), [(0, "ok"), (2, "warning")])
    def test_is_not_fine_where_other_metrics_than_the_main_one_are_beyond_their_limits(
        self, client: Client, model: Model, raised: int, status: str
    ) -> None:
        rows = rows_of_a_day(DAY, 300)
        log(model, [*rows, *rows_of_a_day(DAY + A_DAY, 1)])
        label(model, truths(rows))
        work(model)
        of_day = MetricPoint.objects.filter(model=model, span="day", version="", start=DAY)
        change_points(of_day.filter(metric__in=["recall", "f1"][:raised]), status="warning", threshold=0.99)

        tile = tile_of(page_of(client), "Performance")

        assert tile.startswith(status)
        assert ("2 of 9 metrics beyond their limits" in tile) == bool(raised)
