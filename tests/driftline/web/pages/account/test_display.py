"""Theme and time zone: what a browser asks for is what its pages show."""

import re
from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse

from driftline.web.pages.templatetags.figures import day, metric
from inference.registry.models import Model
from monitors.metrics.catalogue import METRICS
from monitors.metrics.glossary import MEANINGS
from tests.markup import markup
from tests.worlds.approvals import DAY, log, rows_of_a_day


def save(client: Client, theme: str, zone: str) -> int:
    return client.post("/accounts/display/", {"theme": theme, "zone": zone, "next": "/models/"}).status_code


def test_pages_are_in_the_theme_that_was_chosen(client: Client) -> None:
    assert "data-theme" not in markup(client.get("/models/"))

    save(client, "dark", "UTC")

    assert 'data-theme="dark"' in markup(client.get("/models/"))


@pytest.mark.slow
def test_moments_are_written_in_the_chosen_zone_with_utc_beside_them(client: Client, model: Model) -> None:
    log(model, rows_of_a_day(DAY, 1))
    page = reverse("predictions", args=[model.name])
    assert ">5 Jan 2026 00:00<" in markup(client.get(page))

    save(client, "system", "Asia/Tokyo")

    shown = markup(client.get(page))
    assert 'title="2026-01-05T00:00:00Z">5 Jan 2026 09:00<' in shown
    assert 'title="Times are in Asia/Tokyo"' in shown


def test_a_day_is_a_day_of_utc_in_every_zone(client: Client) -> None:
    assert ">5 Jan 2026<" in day(datetime(2026, 1, 5, 23, 30, tzinfo=UTC))


@pytest.mark.parametrize(("theme", "zone"), [("pink", "UTC"), ("dark", "Europe/Atlantis")])
def test_what_there_is_not_is_refused(client: Client, theme: str, zone: str) -> None:
    assert save(client, theme, zone) == 422


@pytest.mark.parametrize("zone", ["../../etc/passwd", "", "x" * 4000])
def test_a_cookie_that_names_no_zone_counts_as_none(client: Client, model: Model, zone: str) -> None:
    client.cookies["time_zone"] = zone

    assert 'title="Times are in UTC"' in markup(client.get("/models/"))


def test_it_leads_back_to_this_site_alone(client: Client) -> None:
    answer = client.post(
        "/accounts/display/", {"theme": "dark", "zone": "UTC", "next": "https://evil.example/"}
    )

    assert answer["Location"] == "/"


def test_a_metric_says_what_it_means_and_where_more_stands() -> None:
    assert metric("psi") == (
        '<a class="term" href="/docs/reference/metrics.html" title="How far shares by bin moved from the reference, '
        'as the population stability index: 0 is the same.">Population stability index</a>'
    )


def test_every_meaning_is_of_a_metric() -> None:
    assert set(MEANINGS) <= set(METRICS)


class TestTimeZones:
    def test_are_offered_by_area_and_city(self, client: Client) -> None:
        offered = re.findall(r'<option value="([^"]+)"', client.get("/accounts/display/").content.decode())

        assert offered[0] == "UTC"
        assert {"Europe/Berlin", "America/Argentina/Salta"} <= set(offered)
        assert not {"localtime", "W-SU", "ROC", "Zulu", "Etc/GMT+3"} & set(offered)

    def test_keep_the_one_that_the_browser_has_by_another_name(self, client: Client) -> None:
        client.cookies["time_zone"] = "Zulu"

        assert re.search(r'value="Zulu"\s+selected', client.get("/accounts/display/").content.decode())
        assert save(client, "dark", "Zulu") == 302
