"""Two periods or two versions side by side, on the pages of a feature and of performance."""

import html
import re
from datetime import timedelta

import pytest
from django.test import Client
from msgspec.structs import replace

from inference.registry.models import Model
from monitors.rules.models import Rule, Transition
from tests.markup import markup
from tests.worlds.approvals import DAY, label, log, rows_of_a_day, truths, work
from tests.worlds.incidents import open_incident

pytestmark = pytest.mark.slow

ONE_DAY = timedelta(days=1)
FIRST, SECOND = "2026-01-05", "2026-01-06"
OF_SECOND = f"from={SECOND}&to={SECOND}"
BESIDE = f"?{OF_SECOND}&with_from={FIRST}&with_to={FIRST}"


@pytest.fixture
def watched(model: Model) -> Model:
    """A day of version 1, and one of version 2 with an income one standard deviation higher; all labelled."""
    before = rows_of_a_day(DAY, 300)
    after = [replace(row, version="2") for row in rows_of_a_day(DAY + ONE_DAY, 300, shift=1.0)]
    log(model, [*before, *after])
    label(model, truths([*before, *after]))
    work(model)
    return model


def comparison_of(client: Client, model: Model, page: str) -> str:
    """The words of the comparison alone."""
    shown = markup(client.get(f"/models/{model.name}/{page}"))
    part = re.search(r'<details class="comparison".*?</details>', shown)
    assert part is not None
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", part[0])))


def links_of(client: Client, model: Model, page: str) -> dict[str, str]:
    shown = markup(client.get(f"/models/{model.name}/{page}"))
    found = re.findall(r'<a href="([^"]*)"[^>]*>([^<]*)</a>', shown)
    return {html.unescape(text).strip(): html.unescape(url) for url, text in found}


class TestOfAFeature:
    def test_is_a_closed_form_until_something_is_chosen(self, client: Client, watched: Model) -> None:
        said = comparison_of(client, watched, "features/income")

        assert "Previous period" in said
        assert "Difference" not in said

    def test_sets_numbers_and_histograms_of_two_periods_side_by_side(
        self, client: Client, watched: Model
    ) -> None:
        said = comparison_of(client, watched, f"features/income{BESIDE}")

        assert "6 Jan 2026 5 Jan 2026 Difference" in said
        assert re.search(
            r"income: median -?0\.\d+ \(5 Jan 2026\), -?\d\.\d+ \(6 Jan 2026\), on 300 rows", said
        )
        mean = re.search(r"Mean .*? ([+-]\d\.\d+) ([+-]\d\.\d+) to ([+-]\d\.\d+) beyond chance", said)
        assert mean is not None
        value, lower, upper = map(float, mean.groups())
        assert lower < 1.0 < upper
        assert lower < value < upper
        assert "Rows 300 300 0" in said

    def test_says_which_categories_are_within_chance(self, client: Client, watched: Model) -> None:
        said = comparison_of(client, watched, f"features/region{BESIDE}")

        assert re.search(r"Share of north 0\.\d+ .*? n 300 .* within chance", said)

    def test_sets_two_versions_side_by_side(self, client: Client, watched: Model) -> None:
        said = comparison_of(
            client, watched, f"features/income?from={FIRST}&to={SECOND}&version=2&with_version=1"
        )

        assert "Version 2 Version 1 Difference" in said
        assert "Rows 300 300 0" in said

    def test_says_that_a_period_is_empty(self, client: Client, watched: Model) -> None:
        said = comparison_of(
            client, watched, f"features/income?{OF_SECOND}&with_from=2025-01-01&with_to=2025-01-07"
        )

        assert "No value of income was logged by all champions, 1 Jan 2025 to 7 Jan 2025." in said
        assert "Difference" not in said


class TestOfPerformance:
    def test_sets_metrics_with_intervals_side_by_side(self, client: Client, watched: Model) -> None:
        said = comparison_of(client, watched, f"performance{BESIDE}")

        assert "Predictions 300 300 0" in said
        assert re.search(r"ROC AUC .*? n \d+ .*? n \d+ [+-]0\.\d+ [+-]0\.\d+ to [+-]0\.\d+", said)
        assert "Label coverage" in said

    def test_says_that_a_version_has_no_labels(self, client: Client, watched: Model) -> None:
        third = [replace(row, version="3") for row in rows_of_a_day(DAY + 2 * ONE_DAY, 50)]
        log(watched, third)
        work(watched)

        said = comparison_of(
            client, watched, f"performance?from={FIRST}&to=2026-01-07&version=1&with_version=3"
        )

        assert "No labels for what version 3 predicted, 5 Jan 2026 to 7 Jan 2026." in said
        assert "Predictions 300 50 250" in said

    def test_an_empty_period_says_so(self, client: Client, watched: Model) -> None:
        said = comparison_of(
            client, watched, f"performance?{OF_SECOND}&with_from=2025-01-01&with_to=2025-01-07"
        )

        assert "No prediction was logged by all champions, 1 Jan 2025 to 7 Jan 2025." in said


class TestTheChoice:
    def test_the_previous_period_is_as_long_and_ends_where_the_range_starts(
        self, client: Client, watched: Model
    ) -> None:
        link = links_of(client, watched, f"performance?{OF_SECOND}")["Previous period"]

        assert "from=2026-01-06T00%3A00%3A00Z&to=2026-01-07T00%3A00%3A00Z" in link
        assert f"with_from={FIRST}&with_to={FIRST}" in link
        assert "5 Jan 2026" in comparison_of(client, watched, f"performance{link.partition('#')[0]}")

    def test_the_period_before_the_incident_ends_on_the_day_that_it_began(
        self, client: Client, watched: Model
    ) -> None:
        rule = Rule.objects.create(
            project=watched.project, model=watched, name="worse", metric="roc_auc", threshold=0.5,
            cooldown=ONE_DAY, notify_within=ONE_DAY,
        )  # fmt: skip
        opened = Transition.objects.create(
            rule=rule, model=watched, kind="opened", window_start=DAY + ONE_DAY, window_end=DAY + 2 * ONE_DAY, n=1,
            threshold=0.5,
        )  # fmt: skip
        incident = open_incident(opened, opened_at=DAY + 2 * ONE_DAY - timedelta(hours=1))

        links = links_of(client, watched, f"performance?{OF_SECOND}")

        assert f"with_from={FIRST}&with_to={FIRST}" in links[f"The period before INC-{incident.pk}"]

    def test_a_range_from_the_beginning_of_time_has_no_previous_period(
        self, client: Client, watched: Model
    ) -> None:
        assert "Previous period" not in links_of(client, watched, f"performance?from=0001-01-02&to={SECOND}")

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("with_from=2026-01-05", 400),
            ("with_from=2026-01-06&with_to=2026-01-01", 400),
            ("with_from=yesterday&with_to=2026-01-01", 400),
            ("with_from=2026-01-05&with_to=9999-12-31T23:59:59Z", 400),
            ("with_version=9", 404),
            ("with_version=1&version=9", 404),
        ],
    )
    def test_refuses_what_there_is_not(self, client: Client, watched: Model, query: str, status: int) -> None:
        answers = [
            client.get(f"/models/{watched.name}/{page}?{query}")
            for page in ("performance", "features/income")
        ]

        assert [answer.status_code for answer in answers] == [status, status]


class TestLinkToThisView:
    def test_holds_absolute_times_and_all_that_the_page_was_asked_for(
        self, client: Client, watched: Model
    ) -> None:
        link = links_of(client, watched, "drift?from=-7d&metric=psi&segment=region:north&version=2")[
            "Link to this view"
        ]

        assert link.endswith(
            f"/models/{watched.name}/drift?from=2026-01-05T00%3A00%3A00Z&metric=psi&segment=region%3Anorth&version=2"
            "&to=2026-01-07T00%3A00%3A00Z"
        )

    def test_shows_the_same_when_more_has_come(self, client: Client, watched: Model) -> None:
        link = links_of(client, watched, "features/income")["Link to this view"]
        before = client.get(link).context["range"]
        log(watched, rows_of_a_day(DAY + 9 * ONE_DAY, 50))
        work(watched)

        after = client.get(link)

        assert (after.context["range"].start, after.context["range"].end) == (before.start, before.end)
        assert f"day={SECOND}" in link
        assert "6 Jan 2026" in markup(after)
