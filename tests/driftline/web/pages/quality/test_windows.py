"""Pages of models that are judged by other windows than days: each shows the windows that its monitors judge."""

import csv
import io
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import AuditEntry
from driftline.web.pages import queries
from driftline.web.pages.models.versions.versions import newest_points
from driftline.web.pages.quality.performance import _shadow_points
from driftline.web.pages.timerange import TimeRange
from inference.registry.models import DeploymentChange, Model
from monitors.metrics.store.models import MetricPoint
from monitors.summaries.services import summarise
from tests.markup import markup
from tests.worlds.approvals import DAY, give_reference, log, rows_of_a_day
from tests.worlds.points import store_points

A_DAY, A_WEEK = timedelta(days=1), timedelta(weeks=1)
MONDAY = DAY  # 5 Jan 2026
THURSDAY = MONDAY + 3 * A_DAY
DECIDES = {"decides": True, "p_value": 0.001}


def point(metric: str, start: datetime, span: str, value: float = 0.05, **other: Any) -> MetricPoint:
    fields: dict[str, Any] = {"status": "ok", "n": 300, "role": "champion", "threshold": 0.1} | other
    return MetricPoint(metric=metric, start=start, span=span, value=value, **fields)


def judge_by(model: Model, span: str, *kinds: str) -> None:
    model.monitors.filter(kind__in=kinds).update(span=span, is_span_chosen=True)


def page_of(client: Client, address: str) -> str:
    answer = client.get(f"/models/approvals/{address}")
    assert answer.status_code == 200
    return markup(answer)


@pytest.fixture
def weekly(model: Model) -> Model:
    """A model of which all monitors judge weeks."""
    judge_by(model, "week", "drift", "quality", "performance")
    return model


class TestRangesWithinAWeek:
    """A range that begins on a Thursday shows the week around it, whichever page reads it."""

    @pytest.mark.slow
    def test_give_the_whole_window_on_the_page_of_a_feature(self, client: Client, weekly: Model) -> None:
        give_reference(weekly)
        log(weekly, [row for day in range(7) for row in rows_of_a_day(MONDAY + day * A_DAY, 10)])
        summarise(weekly.pk)
        store_points(point("psi", MONDAY, "week", model=weekly, feature="income", detail=DECIDES))

        page = page_of(client, "features/income?from=2026-01-08&to=2026-01-11")

        rows = page.split('<th scope="row">Rows</th>')[1].split("</tr>")[0]
        assert '<td class="number">70</td>' in rows
        assert "<strong>the week of 5 Jan 2026</strong>" in page

    def test_list_the_segments_of_that_week(self, weekly: Model) -> None:
        store_points(point("accuracy", MONDAY, "week", model=weekly, segment="region:north"))

        listed = queries.segment_points(weekly, "accuracy", THURSDAY, THURSDAY + A_DAY)

        assert [one.segment for one in listed] == ["region:north"]

    def test_give_that_week_as_csv(self, client: Client, weekly: Model) -> None:
        store_points(point("accuracy", MONDAY, "week", model=weekly))

        answer = client.get(
            "/models/approvals/data.csv?metric=accuracy&span=week&from=2026-01-08&to=2026-01-09"
        )

        assert len(answer.content.decode().splitlines()) == 2

    def test_draw_that_week_of_versions_in_the_shadow(self, weekly: Model) -> None:
        store_points(point("accuracy", MONDAY, "week", model=weekly, role="shadow", version="2"))
        chosen = TimeRange(THURSDAY, THURSDAY + A_DAY, None, is_default=False)

        drawn = _shadow_points(weekly, ("accuracy",), chosen, "week")

        assert list(drawn) == [("accuracy", "2")]


class TestTheSpanOfTheMonitor:
    def test_is_that_of_the_other_features_that_drifted(self, client: Client, weekly: Model) -> None:
        store_points(
            point("psi", MONDAY, "week", model=weekly, feature="income", detail=DECIDES),
            point(
                "psi", MONDAY, "week", 0.5, model=weekly, feature="region", status="warning", detail=DECIDES
            ),
        )

        page = page_of(client, "features/income?day=2026-01-05")

        assert "/features/region?day=2026-01-05" in page.split("Drifted in the same window")[1]

    def test_is_that_of_the_gaps_between_groups(self, client: Client, weekly: Model) -> None:
        detail = {"highest": "north", "lowest": "south"}
        store_points(
            point("accuracy_gap", MONDAY, "week", 0.2, model=weekly, feature="region", detail=detail)
        )

        page = page_of(client, "performance?from=2026-01-05&to=2026-01-11")

        assert "north, south" in page.split("Gaps between groups")[1]

    def test_is_that_of_what_a_version_measured(self, weekly: Model) -> None:
        log(weekly, rows_of_a_day(MONDAY, 2))
        store_points(point("accuracy", MONDAY, "week", 0.9, model=weekly, version="1"))
        store_points(point("latency_p99", MONDAY, "day", 12.0, model=weekly, version="1"))

        measured = newest_points(weekly, weekly.versions.get())

        assert [(one.metric, one.champion and one.champion.value) for one in measured] == [
            ("accuracy", 0.9),
            ("latency_p99", 12.0),
        ]

    def test_is_that_of_the_evidence_and_a_day_where_it_has_none(self, client: Client, model: Model) -> None:
        judge_by(model, "day", "drift")
        store_points(
            point("drift_evidence_by_feature", MONDAY, "day", 5.0, model=model, feature="income"),
            point("drift_evidence_by_feature", MONDAY, "week", 2.0, model=model, feature="income"),
        )

        drawn = []
        for span in ("day", "week", "7d"):
            judge_by(model, span, "drift")
            chart = "/models/approvals/features/income?from=2026-01-05&to=2026-01-11&chart=evidence&as=csv"
            [row] = csv.DictReader(io.StringIO(client.get(chart).text))
            drawn.append(next(float(row[name]) for name in row if name.endswith(": value")))

        assert drawn == [5.0, 2.0, 5.0]

    @pytest.mark.slow
    def test_names_rolling_windows_on_the_heat_map(self, client: Client, model: Model) -> None:
        give_reference(model)
        judge_by(model, "7d", "drift")
        store_points(point("psi", MONDAY, "7d", model=model, feature="income"))

        page = page_of(client, "drift?from=2026-01-05&to=2026-01-11&metric=psi")

        assert "by feature in 1 window of 7 days" in page
        assert "income, the 7 days to 11 Jan 2026, Population stability index 0.05" in page


class TestMonitorsOfDifferentSpans:
    @pytest.fixture
    def mixed(self, model: Model) -> Model:
        """Drift is judged by the week, quality by the day: on Thursday values were missing."""
        judge_by(model, "week", "drift")
        store_points(
            *(
                point(
                    "missing_share", MONDAY + day * A_DAY, "day", 0.3 if day == 3 else 0.0,
                    model=model, feature="income",
                )
                for day in range(7)
            ),
            point("psi", MONDAY, "week", model=model, feature="income", detail=DECIDES),
        )  # fmt: skip
        return model

    def test_show_beside_a_week_of_drift_the_quality_of_its_last_day(
        self, client: Client, mixed: Model
    ) -> None:
        page = page_of(client, "features/income?from=2026-01-05&to=2026-01-11")

        assert "the week of 5 Jan 2026" in page.split("<h2>Drift")[1].split("</h2>")[0]
        assert "11 Jan 2026" in page.split("<h2>Data quality")[1].split("</h2>")[0]

    def test_show_the_day_of_quality_that_is_asked_for_and_the_week_around_it(
        self, client: Client, mixed: Model
    ) -> None:
        page = page_of(client, "features/income?from=2026-01-05&to=2026-01-11&day=2026-01-08&by=quality")

        quality = page.split("<h2>Data quality")[1].split("</table>")[0]
        assert "8 Jan 2026" in quality.split("</h2>")[0]
        assert "30%" in quality
        assert "the week of 5 Jan 2026" in page.split("<h2>Drift")[1].split("</h2>")[0]

    @pytest.mark.slow
    def test_the_heat_map_of_quality_leads_to_its_own_day(self, client: Client, mixed: Model) -> None:
        give_reference(mixed)

        page = page_of(client, "drift?from=2026-01-05&to=2026-01-11&metric=missing_share")

        assert "/features/income?day=2026-01-08&amp;from=2026-01-05&amp;to=2026-01-11&amp;by=quality" in page


class TestHours:
    def test_are_walked_through_and_named(self, client: Client, model: Model) -> None:
        judge_by(model, "hour", "drift")
        store_points(
            *(
                point(
                    "psi", MONDAY + timedelta(hours=hour), "hour",
                    model=model, feature="income", detail=DECIDES,
                )
                for hour in (5, 6, 7)
            )
        )  # fmt: skip

        page = page_of(client, "features/income?from=2026-01-05&to=2026-01-05&day=2026-01-05T06:00:00Z")

        assert "<strong>the hour from 06:00 UTC on 5 Jan 2026</strong>" in page
        walk = page.split('class="walk"')[1].split("</p>")[0]
        assert "day=2026-01-05T05:00:00Z" in walk
        assert "day=2026-01-05T07:00:00Z" in walk

    @pytest.mark.slow
    def test_have_cells_that_lead_to_their_own_hour(self, client: Client, model: Model) -> None:
        give_reference(model)
        judge_by(model, "hour", "drift")
        six = MONDAY + timedelta(hours=6)
        store_points(point("psi", six, "hour", model=model, feature="income"))

        page = page_of(client, "drift?from=2026-01-05&to=2026-01-05&metric=psi")

        assert "/features/income?day=2026-01-05T06%3A00%3A00Z" in page

    @pytest.mark.parametrize("day", ["soon", "2026-13-01", "2026-01-05T06:00", "9" * 50])
    def test_are_not_read_from_what_is_no_time(self, client: Client, model: Model, day: str) -> None:
        assert client.get(f"/models/approvals/features/income?day={day}").status_code == 400


@pytest.mark.slow
def test_a_deployment_is_marked_in_the_week_that_holds_it(client: Client, weekly: Model) -> None:
    give_reference(weekly)
    log(weekly, rows_of_a_day(MONDAY - 2 * A_WEEK, 2))
    promoted = {"generation": 9, "kind": "promote", "before": {}, "after": {"champion": "2"}, "actor": "test"}
    DeploymentChange.objects.create(model=weekly, event_time=THURSDAY, **promoted)
    store_points(
        *(
            point("psi", MONDAY + week * A_WEEK, "week", model=weekly, feature="income")
            for week in (-2, -1, 0)
        )
    )

    page = page_of(client, "drift?from=2025-12-22&to=2026-01-11&metric=psi")

    heads = page.split('table class="heat"')[1].split("</thead>")[0].split("<th ")[3:]
    assert [" marked" in head for head in heads] == [True, False, True]


def test_a_feature_page_links_to_odd_rows_and_shows_none(client: Client, model: Model) -> None:
    detail = {"value": 1700.0, "rows": 1, "why": "income 1700 in 1 of 10 rows; reference -3 to 3"}
    log(model, rows_of_a_day(MONDAY, 10))
    store_points(
        point(
            "impossible_share",
            MONDAY,
            "day",
            0.1,
            model=model,
            feature="income",
            detail=detail,
            status="warning",
        )
    )

    page = page_of(client, "features/income?day=2026-01-05")

    link = "/models/approvals/predictions?from=2026-01-05T00%3A00%3A00Z&amp;to=2026-01-06T00%3A00%3A00Z"
    assert f"{link}&amp;segment=income%3A1700.0" in page
    assert "20260105-" not in page, "an id of a prediction is shown without an audit row"
    assert not AuditEntry.objects.filter(action="predictions.view").exists()


def test_a_week_has_one_name_in_each_sentence(client: Client, weekly: Model) -> None:
    store_points(
        point("psi", MONDAY, "week", 0.5, model=weekly, feature="income", status="warning", detail=DECIDES)
    )

    page = page_of(client, "features/income?day=2026-01-05")

    said = "income drifted in the week of 5 Jan 2026: Population stability index 0.5, limit 0.1 (5.0 times its limit"
    assert said in page
