"""The page of latency: how fast answers are against the objective, how many requests had none and why, and now."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from driftline.web.pages.models.serving_now import Percentile, percentile, serving_now
from inference.prediction_log.models import PredictionChunk
from inference.registry.models import Model
from inference.registry.services import update_model
from inference.serving.counts.metrics import SECONDS
from monitors.metrics.store.models import MetricPoint
from monitors.rules.services import create_rule
from monitors.summaries.models import Summary
from tests.driftline.web.pages.queries import reads_of
from tests.driftline.web.pages.serving_status import busy, report
from tests.markup import markup
from tests.worlds.approvals import DAY, count_requests, log, rows_of_a_day, work


def page_of(client: Client, model: Model, query: str = "") -> str:
    answer = client.get(f"/models/{model.name}/latency{query}")
    assert answer.status_code == 200
    return markup(answer)


def rule(project: Project, model: Model, *, name: str = "slow", **fields: Any) -> None:
    create_rule(project=project, model=model, actor="test", name=name, metric="latency_p99", **fields)


class TestTheSentence:
    @pytest.mark.slow
    def test_says_that_p99_is_within_its_objective(self, client: Client, model: Model) -> None:
        update_model(model=model, actor="test", objectives={"latency_p99_ms": 50, "label_lag_hours": 0})
        log(model, rows_of_a_day(DAY, 300))
        count_requests(model, DAY, answered=300)
        work(model)

        page = page_of(client, model)

        assert 'class="verdict ok">p99 is 2 ms on 5 Jan 2026, objective 50 ms: fine.' in page
        assert "All 300 requests in this range succeeded." in page
        assert "of 300 in this range 0 did (0.00%), so 100% of the error budget is left" in page

    @pytest.mark.slow
    def test_writes_seconds_as_whole_milliseconds(self, client: Client, model: Model) -> None:
        update_model(model=model, actor="test", objectives={"latency_p99_ms": 2_000, "label_lag_hours": 0})
        log(model, [replace(row, latency_ms=1_500.0) for row in rows_of_a_day(DAY, 300)])
        work(model)

        page = page_of(client, model)

        assert "p99 is 1,500 ms on 5 Jan 2026, objective 2,000 ms: fine." in page
        assert "99 % of answers took at most 1,500 ms on 5 Jan 2026." in page
        assert "1 % of answers may take longer than 2,000 ms" in page

    @pytest.mark.slow
    def test_says_of_history_that_its_requests_came_on_another_day(
        self, client: Client, model: Model
    ) -> None:
        for number in range(2):
            log(model, rows_of_a_day(DAY + timedelta(days=number), 30))
        count_requests(model, DAY + timedelta(days=1), answered=60)
        work(model)

        page = page_of(client, model)

        assert "30 predictions of this range are missing here: they were sent on other days" in page
        assert "are missing here" not in page_of(client, model, "?from=2026-01-06&to=2026-01-06")

    @pytest.mark.slow
    def test_is_beside_the_share_of_copies_that_shadows_dropped(self, client: Client, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 30))
        work(model)
        without = page_of(client, model)
        count_requests(model, DAY, role="shadow", answered=150, dropped=50)
        work(model)

        page = page_of(client, model)

        assert "Copies that shadows dropped" not in without
        assert "25.00% of 200 rows that were to be copied on 5 Jan 2026 were dropped." in page

    def test_reads_the_latencies_of_the_range_once(self, client: Client, model: Model) -> None:
        with CaptureQueriesContext(connection) as asked:
            page_of(client, model)

        assert len([sql for sql in reads_of(Summary, asked) if "payload" in sql]) == 1

    @pytest.mark.slow
    def test_says_since_when_p99_is_beyond_its_objective(self, client: Client, model: Model) -> None:
        update_model(model=model, actor="test", objectives={"latency_p99_ms": 1, "label_lag_hours": 0})
        for number in range(2):
            log(model, rows_of_a_day(DAY + timedelta(days=number), 300))
        work(model)

        page = page_of(client, model)

        assert (
            'class="verdict warning">p99 is 2 ms on 6 Jan 2026, beyond the objective of 1 ms since 5 Jan'
            in page
        )
        assert "100.0 times the error budget" in page

    @pytest.mark.slow
    def test_keeps_its_limit_where_a_rule_wants_more_rows_than_came(
        self, client: Client, project: Project, model: Model
    ) -> None:
        update_model(model=model, actor="test", objectives={"latency_p99_ms": 50, "label_lag_hours": 0})
        log(model, rows_of_a_day(DAY, 300))
        work(model)
        rule(project, model, threshold=1, min_rows=1_000)

        assert "p99 is 2 ms on 5 Jan 2026, objective 50 ms: fine." in page_of(client, model)

    @pytest.mark.slow
    @pytest.mark.parametrize(("threshold", "said"), [(1, "1 ms: fine."), (5, "of 5 ms since 5 Jan 2026.")])
    def test_follows_a_rule_that_asks_for_a_value_below(
        self, client: Client, project: Project, model: Model, threshold: float, said: str
    ) -> None:
        log(model, rows_of_a_day(DAY, 300))
        work(model)
        rule(project, model, threshold=threshold, operator="below")

        assert said in page_of(client, model)

    @pytest.mark.slow
    @pytest.mark.parametrize("severities", [("critical", "warning"), ("warning", "critical")])
    def test_tells_the_limit_that_is_breached_of_two_rules(
        self, client: Client, project: Project, model: Model, severities: tuple[str, str]
    ) -> None:
        log(model, rows_of_a_day(DAY, 300))
        work(model)
        for severity, threshold in zip(severities, (50, 1), strict=True):
            rule(project, model, name=severity, severity=severity, threshold=threshold)

        assert "beyond the objective of 1 ms since 5 Jan 2026." in page_of(client, model)

    @pytest.mark.slow
    @pytest.mark.parametrize("severities", [("critical", "warning"), ("warning", "critical")])
    def test_tells_the_most_severe_limit_of_two_that_are_breached(
        self, client: Client, project: Project, model: Model, severities: tuple[str, str]
    ) -> None:
        log(model, rows_of_a_day(DAY, 300))
        work(model)
        for severity in severities:
            threshold = 1.5 if severity == "critical" else 1
            rule(project, model, name=severity, severity=severity, threshold=threshold)

        assert "beyond the objective of 1.5 ms" in page_of(client, model)

    @pytest.mark.slow
    def test_tells_the_faults_of_the_range_by_kind(self, client: Client, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 300))
        count_requests(model, DAY, answered=97, invalid=2, overloaded=1)
        work(model)

        page = page_of(client, model)

        assert (
            "3 of 100 requests that came in this range (3.00%) were not answered, most of them invalid"
            in page
        )
        assert "its values, its shape or its rights" in page

    def test_does_not_call_a_server_fast_that_was_not_asked(self, client: Client, model: Model) -> None:
        page = page_of(client, model)

        assert 'class="verdict no_data">No latency was logged in this range.' in page
        assert "so errors are not known" in page
        assert "No serving process runs now." in page


class TestNow:
    def test_adds_up_the_last_minute_of_the_model_alone(self, model: Model, home: Path) -> None:
        metrics = busy(model)
        metrics.series(model.pk + 1, "1", "champion").observe_run(99)
        report(home, metrics, waiting=4)

        now = serving_now(model, home)

        [process] = now.processes
        assert (process.requests, process.per_second, process.mean_batch, process.faults) == (
            60,
            2.0,
            10.0,
            1,
        )
        assert (process.waiting_requests, process.oldest_ms) == (4, 250.0)
        assert process.p99 is not None
        assert 1.0 < process.p99.ms <= 2.5

    def test_splits_an_answers_time_into_its_phases(self, model: Model, home: Path) -> None:
        report(home, busy(model))

        phases = {phase.words: phase for phase in serving_now(model, home).phases}

        assert (phases["The model"].mean_ms, phases["The model"].share) == (1.5, 0.75)
        assert (phases["Waiting for a run"].mean_ms, phases["Waiting for a run"].share) == (0.5, 0.25)

    def test_comes_alone_for_the_part_that_lives(self, client: Client, model: Model, home: Path) -> None:
        report(home, busy(model))

        with CaptureQueriesContext(connection) as asked:
            part = page_of(client, model, "?part=live")

        assert "<html" not in part
        assert "One serving process runs; this model answers 2 requests a second, and nothing waits." in part
        assert "9 to 16" in part
        assert not reads_of(MetricPoint, asked) + reads_of(PredictionChunk, asked)


class TestPercentile:
    def test_of_the_last_bucket_is_only_a_lower_bound(self) -> None:
        counts = [0] * len(SECONDS) + [5]

        assert percentile(counts, 0.5) == Percentile(SECONDS[-1] * 1e3, is_beyond=True)

    def test_of_nothing_is_nothing(self) -> None:
        assert percentile([0] * (len(SECONDS) + 1), 0.99) is None

    @pytest.mark.parametrize("q", [0.01, 0.5, 0.99, 1.0])
    def test_lies_in_the_bucket_that_holds_its_rank(self, q: float) -> None:
        counts = [0] * (len(SECONDS) + 1)
        counts[3] = 100

        found = percentile(counts, q)

        assert found is not None
        assert SECONDS[2] * 1e3 <= found.ms <= SECONDS[3] * 1e3
