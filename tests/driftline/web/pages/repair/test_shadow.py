"""The page of a comparison says whether the version in the shadow may be promoted, and shows the pairs that say so."""

import re
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from driftline.base.accounts.models import Project
from driftline.base.periods import parse_timestamp
from inference.prediction_log.models import PredictionChunk
from inference.registry.models import Model
from monitors.definitions.segments import set_segments
from monitors.metrics.store.models import MetricPoint
from monitors.workflows.models import Workflow
from monitors.workflows.selectors import agreement
from tests.driftline.web.pages.queries import reads_of
from tests.markup import markup
from tests.worlds.approvals import DAY, FOUR_HOURS, label, log, make_model, rows_of_a_day, truths, work

pytestmark = pytest.mark.slow

DAYS, ROWS = 8, 200


def copies(rows: list[Any], *, turned: float, latency_ms: float = 3.0) -> list[Any]:
    """Answer the same requests as version 2 in the shadow: its probability is the champion's, moved towards 1 - p."""
    made = []
    for row in rows:
        probability = (1 - turned) * row.probabilities + turned * (1 - row.probabilities)
        made.append(
            msgspec.structs.replace(
                row, version="2", role="shadow", probabilities=probability,
                prediction="1" if probability >= 0.5 else "0", latency_ms=latency_ms,
            )
        )  # fmt: skip
    return made


def shadow_days(model: Model, *, turned: float, days: int = DAYS, labelled: bool = True) -> None:
    for number in range(days):
        rows = rows_of_a_day(DAY + timedelta(days=number), ROWS, hours=FOUR_HOURS)
        log(model, rows)
        log(model, copies(rows, turned=turned))
        if labelled:
            label(model, truths(rows))
    work(model)
    model.deployment.refresh_from_db()


def evidence_of(client: Client, model: Model) -> str:
    answer = client.get(f"/models/{model.name}/shadow?challenger=2&part=evidence")
    assert answer.status_code == 200
    return markup(answer)


class TestWithLabels:
    def test_a_worse_challenger_should_not_be_promoted(self, client: Client, model: Model) -> None:
        Workflow.objects.create(model=model, pairs=500, max_pairs=1_000)
        shadow_days(model, turned=1.0)

        part = evidence_of(client, model)

        assert 'class="verdict warning">Version 2 should not be promoted: Log loss +0.' in part
        assert "labelled pairs; it answers like version 1 on 0.0% of 1,600 requests" in part

    def test_its_segments_are_shown_by_what_decides_and_other_metrics_as_not_judged(
        self, client: Client, model: Model
    ) -> None:
        """A segment stood there as worse by ROC AUC beside a decision that judged its log loss alone."""
        Workflow.objects.create(model=model, pairs=500, max_pairs=1_000)
        set_segments(model=model, features=["region"], actor="test")
        shadow_days(model, turned=1.0)

        part = evidence_of(client, model)

        rows = re.findall(r"<small>([^<,]*), n=", part)
        assert rows == ["Log loss", "Log loss"]
        assert re.search(r"Brier score <small>.*?worse <small>not judged</small>", part)
        assert not re.search(r"Log loss <small>[^/]*</small></th>(?:(?!</tr>).)*not judged", part)

    def test_an_equal_one_is_told_to_be_neither_better_nor_worse(self, client: Client, model: Model) -> None:
        Workflow.objects.create(model=model, pairs=500, max_pairs=9_000)
        shadow_days(model, turned=0.0)

        assert "is neither clearly better nor clearly worse" in evidence_of(client, model)


class TestAPeriod:
    def compared(self, client: Client, model: Model, bounds: str) -> Any:
        answer = client.get(f"/api/v1/models/{model.name}/comparison?challenger=2{bounds}")
        assert answer.status_code == 200
        return answer.json()

    def test_is_compared_alone(self, client: Client, model: Model) -> None:
        shadow_days(model, turned=0.0, days=3)
        second = f"{DAY + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"

        pairs = [
            self.compared(client, model, bounds)["pairs"]
            for bounds in ("", f"&from={second}", f"&to={second}")
        ]

        assert pairs == [3 * ROWS, 2 * ROWS, ROWS]

    def test_without_pairs_says_so(self, client: Client, model: Model) -> None:
        shadow_days(model, turned=0.0, days=1)

        answer = client.get(
            f"/api/v1/models/{model.name}/comparison?challenger=2&to={DAY:%Y-%m-%dT%H:%M:%SZ}"
        )

        assert answer.status_code == 409
        assert "in this period" in answer.json()["detail"]


class TestWithoutLabels:
    def test_says_how_far_both_agree_and_that_labels_are_missing(self, client: Client, model: Model) -> None:
        shadow_days(model, turned=0.0, days=2, labelled=False)

        part = evidence_of(client, model)

        assert "Version 2 cannot be judged yet: it answers like version 1 on 100.0% of 400 requests" in part
        assert "They predicted the same on every pair." in part

    def test_counts_each_combination_of_answers_and_the_paired_latency(self, model: Model) -> None:
        shadow_days(model, turned=1.0, days=1, labelled=False)

        _, _, found = agreement(model=model, challenger="2")

        assert found is not None
        assert {(pair.champion, pair.challenger) for pair in found.answers} == {("0", "1"), ("1", "0")}
        assert (found.agreed, sum(pair.pairs for pair in found.answers)) == (0, ROWS)
        assert found.latencies is not None
        assert found.latencies.difference_p50 == pytest.approx(1.0)
        assert found.differences is not None
        assert sum(found.differences.histogram) == pytest.approx(1.0)

    def test_compares_the_newest_pairs_and_reads_no_older_ones(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("monitors.workflows.judging.agreement.MAX_PAIRS", 150)
        rows = rows_of_a_day(DAY, 300)
        for third in (rows[:100], rows[100:200], rows[200:]):
            log(model, third)
            log(model, copies(third, turned=0.0))
        work(model)
        model.deployment.refresh_from_db()
        oldest = PredictionChunk.objects.filter(model=model, start=DAY)
        assert oldest.update(payload=b"cannot be read") == 2

        _, _, found = agreement(model=model, challenger="2")

        assert found is not None
        assert (found.pairs, found.start) == (150, parse_timestamp(rows[150].timestamp))

    def test_shows_the_pairs_whose_scores_lie_furthest_apart_first(self, model: Model) -> None:
        shadow_days(model, turned=1.0, days=1, labelled=False)

        _, _, found = agreement(model=model, challenger="2")

        assert found is not None
        gaps = [abs(one.challenger_score - one.champion_score) for one in found.disagreeing]  # type: ignore[operator]
        assert gaps == sorted(gaps, reverse=True)
        furthest = max(abs(2 * row.probabilities - 1) for row in rows_of_a_day(DAY, ROWS))  # type: ignore[operator]
        assert gaps[0] == pytest.approx(furthest, abs=1e-6)


class TestThePage:
    def test_comes_at_once_and_asks_for_its_evidence(self, client: Client, model: Model) -> None:
        shadow_days(model, turned=0.0, days=1)

        page = markup(client.get(f"/models/{model.name}/shadow"))

        assert "Version 2 against version 1" in page
        assert "part=evidence&amp;challenger=2" in page
        assert "evidence=1" in page

    def test_gives_its_evidence_without_what_only_the_page_shows(self, client: Client, model: Model) -> None:
        shadow_days(model, turned=0.0, days=1)

        with CaptureQueriesContext(connection) as asked:
            evidence_of(client, model)

        assert not reads_of(MetricPoint, asked)

    def test_has_no_evidence_where_nothing_shadowed(self, client: Client, model: Model) -> None:
        part = markup(client.get(f"/models/{model.name}/shadow?part=evidence"))

        assert "No version of approvals has been a shadow or canary yet." in part
        assert "<html" not in part

    def test_says_how_to_start_where_nothing_shadowed(self, client: Client, model: Model) -> None:
        page = markup(client.get(f"/models/{model.name}/shadow"))

        assert "No version of approvals has been a shadow or canary yet" in page
        assert f"/models/{model.name}/versions" in page

    def test_leads_to_each_disagreement(self, client: Client, model: Model) -> None:
        shadow_days(model, turned=1.0, days=1)
        row = rows_of_a_day(DAY, ROWS)[0]

        assert f"/models/{model.name}/predictions/" in evidence_of(client, model)
        page = markup(client.get(f"/models/{model.name}/predictions/{row.id}"))

        other = "0" if row.prediction == "1" else "1"
        assert f"Version 1 answered {row.prediction}; in the shadow answered version 2 {other}." in page
        assert "Actual: " in page

    def test_knows_no_prediction_of_another_project(self, client: Client, model: Model) -> None:
        theirs = make_model(Project.objects.create(slug="theirs", name="Theirs"), "secret")
        log(theirs, rows_of_a_day(DAY, 1))

        assert client.get(f"/models/secret/predictions/{DAY:%Y%m%d}-0").status_code == 404
        assert client.get(f"/models/{model.name}/predictions/{DAY:%Y%m%d}-0").status_code == 404


class TestACanary:
    """It answered other requests than the champion, so there are no pairs."""

    def answers(self, model: Model, *, days: int, labelled: bool = True) -> None:
        """Let version 2 answer every fourth request of some days."""
        for number in range(days):
            rows = rows_of_a_day(DAY + timedelta(days=number), ROWS)
            share = [msgspec.structs.replace(row, version="2", role="canary") for row in rows[::4]]
            others = [row for place, row in enumerate(rows) if place % 4]
            log(model, others)
            log(model, share)
            if labelled:
                label(model, truths(rows))
        work(model)
        model.deployment.refresh_from_db()

    def told(self, client: Client, model: Model) -> Any:
        answer = client.get(f"/api/v1/models/{model.name}/comparison?challenger=2")
        assert answer.status_code == 200
        return answer.json()

    def test_is_compared_on_the_requests_that_each_side_answered(self, client: Client, model: Model) -> None:
        Workflow.objects.create(model=model, pairs=200, max_pairs=9_000)
        self.answers(model, days=6)

        told = self.told(client, model)

        assert (told["kind"], told["champion"], told["challenger"], told["pairs"]) == (
            "unpaired",
            "1",
            "2",
            0,
        )
        sides = told["sides"]
        assert (sides["champion"]["rows"], sides["challenger"]["rows"]) == (900, 300)
        assert told["labelled"] == 300
        assert told["metrics"]["log_loss"]["lower"] < 0 < told["metrics"]["log_loss"]["upper"]
        assert told["verdict"]["decision"] == "inconclusive"
        assert sum(one["challenger"] for one in told["answers"]) == pytest.approx(1)

    def test_is_shown_beside_the_champion_without_pairs(self, client: Client, model: Model) -> None:
        self.answers(model, days=6)

        page = markup(client.get(f"/models/{model.name}/shadow"))
        part = evidence_of(client, model)

        assert "Version 2 against version 1" in page
        assert "it answered 300 requests that version 1 did not, so there are no pairs." in part
        assert "the gate needs" in part

    def test_without_labels_tells_how_the_sides_answer(self, client: Client, model: Model) -> None:
        self.answers(model, days=1, labelled=False)

        told = self.told(client, model)

        assert (told["labelled"], told["metrics"]) == (0, {})
        assert told["sides"]["challenger"]["latency_p50_ms"] == 2.0
        assert told["verdict"]["reasons"][0].startswith("0 predictions of the canary have a label")


def test_agreement_is_read_over_http(client: Client, model: Model) -> None:
    shadow_days(model, turned=1.0, days=1)

    told = client.get(f"/api/v1/models/{model.name}/agreement?challenger=2").json()

    assert (told["champion"], told["challenger"], told["pairs"], told["agreed"]) == ("1", "2", ROWS, 0)
    assert len(told["disagreeing"]) == 20
