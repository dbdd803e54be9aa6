"""From a logged prediction to a metric; tests/flows/test_recomputation.py says in which orders things may arrive."""

from datetime import timedelta
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from django.db import transaction
from django.utils import timezone
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from driftline.base.errors import Problem
from driftline.operations.invariants import check_all
from inference.prediction_log.ingest.request_counts import add_request_counts
from inference.prediction_log.items import LabelItem
from inference.prediction_log.labels.services import log_labels
from inference.prediction_log.models import PredictionRow
from inference.prediction_log.queries.selectors import frame_of
from inference.prediction_log.spool.record import RequestCounts, WaitedRequests
from inference.registry.files.datasets import store_reference
from inference.registry.models import Dataset, Model
from inference.serving.counts.metrics import WAIT_SECONDS
from monitors.metrics.selectors import longer_points
from monitors.metrics.store.models import MetricPoint
from monitors.summaries.models import Summary
from tests.worlds.approvals import (
    DAY,
    count_requests,
    give_reference,
    label,
    log,
    rows_of_a_day,
    send,
    truths,
    work,
)

pytestmark = pytest.mark.slow


def value(model: Model, metric: str, **narrowed: object) -> float | None:
    wanted = {"span": "day", "start": DAY, "role": "champion", "version": "", "segment": "", "feature": ""}
    return MetricPoint.objects.get(model=model, metric=metric, **(wanted | narrowed)).value


def assert_invariants_hold() -> None:
    broken = [result for result in check_all() if not result.holds]
    assert not broken


class TestLogging:
    def test_a_repeated_prediction_is_a_duplicate_and_a_changed_one_a_conflict(self, model: Model) -> None:
        [row] = rows_of_a_day(DAY, 1)
        log(model, [row])
        changed = msgspec.structs.replace(row, latency_ms=3.0)

        result = send(model, [row, changed])

        assert [item.status for item in result.results] == ["duplicate", "conflict"]
        assert PredictionRow.objects.count() == 1

    def test_a_feature_of_the_wrong_type_is_refused_by_name_and_the_rest_is_kept(self, model: Model) -> None:
        give_reference(model)
        good, bad = rows_of_a_day(DAY, 2)
        bad.features["income"] = "a lot"

        result = send(model, [good, bad])

        assert (result.accepted, result.rejected) == (1, 1)
        assert result.results[1].error is not None
        assert result.results[1].error.pointer == "/predictions/1/features/income"

    def test_rows_come_back_as_they_were_logged(self, model: Model) -> None:
        rows = rows_of_a_day(DAY, 50)
        log(model, rows)
        label(model, truths(rows)[:10])

        frame = frame_of(model=model, start=DAY, end=DAY + timedelta(days=1))

        assert list(frame.ids) == [row.id for row in rows]
        assert list(frame.features["income"]) == [row.features["income"] for row in rows]
        assert list(frame.features["region"]) == [row.features["region"] for row in rows]
        assert list(frame.is_labelled) == [True] * 10 + [False] * 40


class TestLabels:
    def test_a_label_for_an_unknown_prediction_waits_for_it(self, model: Model) -> None:
        rows = rows_of_a_day(DAY, 5)
        result = log_labels(model=model, items=truths(rows), source="test", now=timezone.now())
        assert {item.status for item in result.results} == {"pending_prediction"}

        log(model, rows)
        work(model)

        assert value(model, "label_coverage") == 1.0
        assert_invariants_hold()

    def test_a_label_that_waited_counts_for_a_shadows_copy_that_came_before_the_answer(
        self, model: Model
    ) -> None:
        [row] = rows_of_a_day(DAY, 1)
        log(model, [msgspec.structs.replace(row, version="2", role="shadow")])
        label(model, truths([row]))
        work(model)

        log(model, [row])
        work(model)

        assert value(model, "label_coverage") == 1.0
        assert value(model, "label_coverage", role="shadow", version="2") == 1.0

    def test_a_correction_replaces_the_label_and_changes_the_metric(self, model: Model) -> None:
        rows = rows_of_a_day(DAY, 4)
        log(model, rows)
        label(model, [LabelItem(id=row.id, label=str(row.prediction), timestamp=None) for row in rows])
        work(model)
        assert value(model, "accuracy") == 1.0
        wrong = "0" if rows[0].prediction == "1" else "1"

        label(model, [LabelItem(id=rows[0].id, label=wrong, timestamp=None)])
        work(model)

        assert value(model, "accuracy") == 0.75
        assert MetricPoint.objects.get(model=model, metric="accuracy", span="day", version="").revision == 2

    def test_a_client_id_that_two_predictions_share_is_ambiguous(self, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 2))
        PredictionRow.objects.filter(model=model).update(client_id="1")  # as inference logs them

        result = log_labels(
            model=model,
            items=[LabelItem(id="1", label="1", timestamp=None)],
            source="test",
            now=timezone.now(),
        )

        assert result.results[0].status == "ambiguous_id"


class TestMetrics:
    def test_performance_equals_scikit_learn_on_the_same_rows(self, model: Model) -> None:
        rows = rows_of_a_day(DAY, 600)
        labels = truths(rows)
        log(model, rows)
        label(model, labels)

        work(model)

        y, p = [int(item.label) for item in labels], [row.probabilities for row in rows]
        assert value(model, "accuracy") == pytest.approx(
            accuracy_score(y, [int(row.prediction) for row in rows])
        )
        assert value(model, "log_loss") == pytest.approx(log_loss(y, p), rel=1e-6)
        assert value(model, "roc_auc") == pytest.approx(roc_auc_score(y, p), abs=1e-3)
        assert value(model, "count") == 600

    def test_a_shifted_feature_drifts_and_its_neighbour_does_not(self, model: Model) -> None:
        give_reference(model)
        log(model, rows_of_a_day(DAY, 500, shift=1.0))

        work(model)

        statuses = dict(
            MetricPoint.objects.filter(model=model, metric="psi", span="day").values_list("feature", "status")
        )
        assert statuses["income"] in ("warning", "critical")
        assert statuses["region"] == "ok"

    def test_too_few_rows_are_insufficient_and_never_an_alarm(self, model: Model) -> None:
        give_reference(model)
        log(model, rows_of_a_day(DAY, 30, shift=3.0))

        work(model)

        drift = MetricPoint.objects.filter(model=model, metric="psi", span="day")
        assert {point.status for point in drift} == {"insufficient"}
        assert all((point.value, point.n) == (None, 30) for point in drift)

    def test_a_week_is_measured_from_its_days(self, model: Model) -> None:
        week = [DAY + number * timedelta(days=1) for number in range(3)]
        rows = [row for day in week for row in rows_of_a_day(day, 200)]
        labels = truths(rows)
        log(model, rows)
        label(model, labels)
        work(model)

        [point] = longer_points(
            model=model, metric="roc_auc", start=DAY, end=DAY + timedelta(days=7), step="week"
        )

        y, p = [int(item.label) for item in labels], [row.probabilities for row in rows]
        assert point.value == pytest.approx(roc_auc_score(y, p), abs=1e-3)
        assert (point.start, point.end, point.n) == (DAY, DAY + timedelta(days=7), 600)

    def test_segments_are_measured_apart(self, model: Model) -> None:
        model.segment_features.create(feature="region")
        rows = rows_of_a_day(DAY, 300)
        log(model, rows)
        label(model, truths(rows))

        work(model)

        by_region = MetricPoint.objects.filter(model=model, metric="accuracy", span="day").exclude(segment="")
        assert set(by_region.values_list("segment", flat=True)) == {"region:north", "region:south"}
        assert sum(point.n for point in by_region) == 300

    def test_values_without_end_or_of_any_length_are_seen_in_the_whole(self, model: Model) -> None:
        model.segment_features.create(feature="region")
        rows = [
            msgspec.structs.replace(
                row, features={"region": f"{number % 120}" if number < 240 else "x" * 5_000}
            )
            for number, row in enumerate(rows_of_a_day(DAY, 300))
        ]
        log(model, rows)

        work(model)

        days = Summary.objects.filter(model=model, span="day")
        assert days.get(segment="").rows == 300
        assert 0 < days.exclude(segment="").count() <= 24 * 50
        assert not days.filter(segment__contains="xxx").exists()
        assert_invariants_hold()


class TestReferences:
    def test_a_reference_that_comes_after_the_predictions_is_compared_with_them_all_the_same(
        self, model: Model
    ) -> None:
        log(model, rows_of_a_day(DAY, 300, shift=2.0))
        work(model)
        assert not MetricPoint.objects.filter(model=model, metric="psi").exists()

        give_reference(model)
        work(model)

        assert MetricPoint.objects.get(
            model=model, metric="psi", feature="income", span="day", version=""
        ).status in ("warning", "critical")

    @pytest.mark.parametrize(
        ("csv", "code"),
        [
            (b"", "no_rows"),
            (b"income,region\n", "no_rows"),
            (b"income,income\n1,2\n", "invalid_header"),
            (b'income,region\n1,"north\n2,south\n', "invalid_csv"),
            (b"PK\x03\x04 a zip", "unsupported_media_type"),
            (b"label\n1\n", "no_features"),
        ],
    )
    def test_a_file_that_is_no_reference_is_refused_and_nothing_is_kept(
        self, model: Model, home: Path, csv: bytes, code: str
    ) -> None:
        with pytest.raises(Problem) as refused:
            store_reference(
                model=model, version="1", stream=BytesIO(csv), content_type="text/csv", actor="test"
            )

        assert refused.value.code == code
        assert not Dataset.objects.exists()
        assert list((home / "datasets").iterdir()) == []


class TestShadowDropRate:
    def test_is_the_share_of_copied_rows_by_version_and_of_all_shadows(self, model: Model) -> None:
        count_requests(model, DAY, answered=500)
        count_requests(model, DAY + timedelta(hours=3), role="shadow", answered=150, dropped=50)

        work(model)

        assert value(model, "shadow_drop_rate", role="shadow", version="2") == 0.25
        assert value(model, "shadow_drop_rate") == 0.25
        assert value(model, "shadow_drop_rate", span="hour", start=DAY + timedelta(hours=3)) == 0.25
        assert value(model, "error_rate") == 0
        [week] = longer_points(
            model=model,
            metric="shadow_drop_rate",
            start=DAY,
            end=DAY + timedelta(days=7),
            step="week",
        )
        assert (week.value, week.n) == (0.25, 200)


class TestQueue:
    def test_is_the_95th_percentile_of_waits_with_what_is_sure(self, model: Model) -> None:
        for role, version, counts in (("champion", "1", {3: 60, 5: 30}), ("canary", "2", {5: 10})):
            waits = [counts.get(place, 0) for place in range(len(WAIT_SECONDS) + 1)]
            with transaction.atomic():
                waited = [WaitedRequests(model.pk, version, role, waits)]  # type: ignore[arg-type]
                add_request_counts([RequestCounts(int(DAY.timestamp()), [], waited)])

        work(model)

        [day] = MetricPoint.objects.filter(model=model, metric="queue_p95", span="day", version="")
        assert (day.n, day.status) == (100, "ok")
        assert (day.lower, day.upper) == (1.0, 2.5)  # ms, between which the histogram says nothing
        assert day.value == pytest.approx(1 + 1.5 * 35 / 40)
        assert value(model, "queue_p95", version="1") == pytest.approx(1 + 1.5 * 25.5 / 30)
        canary = MetricPoint.objects.get(model=model, metric="queue_p95", span="day", version="2")
        assert canary.status == "insufficient"
        [week] = longer_points(
            model=model, metric="queue_p95", start=DAY, end=DAY + timedelta(days=7), step="week"
        )
        assert week.value == day.value


class TestErrorRate:
    def test_is_the_share_of_requests_without_an_answer_and_says_why(self, model: Model) -> None:
        count_requests(model, DAY + timedelta(hours=3), answered=90, invalid=6)
        count_requests(model, DAY + timedelta(hours=4), answered=100, overloaded=4)

        work(model)

        day = MetricPoint.objects.get(model=model, metric="error_rate", span="day", version="")
        assert (day.value, day.n, day.status) == (0.05, 200, "ok")
        assert day.detail == {"invalid": 6, "overloaded": 4}
        assert day.lower is not None
        assert day.upper is not None
        assert 0 < day.lower < 0.05 < day.upper
        assert value(model, "error_rate", span="hour", start=DAY + timedelta(hours=3)) == 6 / 96

    def test_of_the_model_includes_the_canary_and_no_direct_call(self, model: Model) -> None:
        count_requests(model, DAY, answered=90)
        count_requests(model, DAY, role="canary", answered=5, overloaded=5)
        count_requests(model, DAY, role="direct", invalid=50)

        work(model)

        assert value(model, "error_rate") == 0.05
        assert value(model, "error_rate", version="1") == 0
        assert value(model, "error_rate", role="canary", version="2") == 0.5

    def test_changes_with_counts_that_come_later(self, model: Model) -> None:
        count_requests(model, DAY, answered=90, invalid=10)
        work(model)

        count_requests(model, DAY, answered=100)
        work(model)

        assert value(model, "error_rate") == 0.05

    def test_says_nothing_where_nobody_asked(self, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 50))  # predictions that another server made

        work(model)

        assert not MetricPoint.objects.filter(model=model, metric="error_rate").exists()

    def test_of_few_requests_is_not_judged(self, model: Model) -> None:
        count_requests(model, DAY, invalid=3)

        work(model)

        assert MetricPoint.objects.get(metric="error_rate", span="day", version="").status == "insufficient"

    def test_of_a_week_adds_its_days_up(self, model: Model) -> None:
        for number in range(2):
            count_requests(model, DAY + timedelta(days=number), answered=99, invalid=1)

        [week] = longer_points(
            model=model, metric="error_rate", start=DAY, end=DAY + timedelta(days=7), step="week"
        )

        assert (week.value, week.n) == (0.01, 200)
