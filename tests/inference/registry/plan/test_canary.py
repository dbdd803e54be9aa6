"""Whether a canary's callers are as many as its weight says, and what the monitors make of its rows."""

import math
from datetime import datetime, timedelta

import numpy as np
import pytest

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.ids import new_id, row_ids
from inference.prediction_log.ingest.arrival import in_arrival_week
from inference.prediction_log.ingest.store import _store
from inference.prediction_log.models import PredictionChunk, UnpackedDay
from inference.prediction_log.queries.canary_split import compare_split, split_of
from inference.prediction_log.rows.columns import from_batches
from inference.prediction_log.spool.record import LoggedBatch
from inference.prediction_log.storage import compaction
from inference.prediction_log.storage.compaction import pack_next
from inference.registry.models import Deployment, Model, Version
from monitors.metrics.services import measure
from monitors.metrics.store.models import MetricPoint
from monitors.summaries.services import summarise
from tests.inference.onnx_models import summing_signature
from tests.worlds.approvals import make_model


class TestCompareSplit:
    @pytest.mark.parametrize(
        ("champion", "canary", "weight"), [(900, 100, 0.1), (880, 120, 0.1), (40, 60, 0.5), (0, 2, 0.01)]
    )
    def test_adds_up_all_splits_no_likelier_than_this_one(
        self, champion: int, canary: int, weight: float
    ) -> None:
        total = champion + canary
        chances = [
            math.comb(total, keys) * weight**keys * (1 - weight) ** (total - keys)
            for keys in range(total + 1)
        ]
        expected = sum(chance for chance in chances if chance <= chances[canary] * (1 + 1e-7))

        assert compare_split(champion, canary, weight).p_value == pytest.approx(expected)

    @pytest.mark.parametrize(("champion", "canary", "chance"), [(0, 1, 0.01), (9, 1, 0.0956), (5, 1, 0.0585)])
    def test_finds_no_mismatch_in_the_first_key_of_a_small_canary(
        self, champion: int, canary: int, chance: float
    ) -> None:
        split = compare_split(champion, canary, 0.01)

        assert split.p_value == pytest.approx(chance, rel=0.01)
        assert not split.is_mismatch

    def test_flags_a_canary_that_loses_a_fifth_of_its_callers(self) -> None:
        assert compare_split(5_000, 4_000, 0.5).is_mismatch
        assert not compare_split(5_000, 4_900, 0.5).is_mismatch

    def test_says_nothing_where_nobody_was_answered(self) -> None:
        split = compare_split(0, 0, 0.5)

        assert (split.p_value, split.is_mismatch) == (None, False)


def begin_canary(model: Model, key: str) -> Deployment:
    heads, tails = (Version.objects.create(model=model, version=name, sha256="0" * 64) for name in "12")
    deployment = model.deployment
    deployment.champion, deployment.canary = heads, tails
    deployment.canary_weight, deployment.canary_key = 0.5, key
    deployment.canary_since = now() - timedelta(hours=1)
    deployment.save()
    return deployment


def log(
    deployment: Deployment,
    role: str,
    subjects: list[str],
    ids: list[str] | None = None,
    *,
    latencies_us: list[int] | None = None,
    moment: datetime | None = None,
) -> None:
    """Log one row for each subject, as the drain does; `moment` is when they came, by default now."""
    version = deployment.canary if role == "canary" else deployment.champion
    assert version is not None
    rows = len(subjects)
    moment_us = int((moment or now()).timestamp() * 1e6)
    batch = LoggedBatch(
        model_id=deployment.model_id,
        version_id=version.pk,
        role=role,  # type: ignore[arg-type]
        generation=1,
        ids=ids or [f"{role}-{moment_us}-{place}" for place in range(rows)],
        client_ids=None,
        keyed=False,
        event_time_us=[moment_us] * rows,
        received_us=moment_us,
        latency_us=latencies_us or [1000] * rows,
        features=[],
        prediction=np.zeros(rows).tobytes(),
        probabilities=None,
        subjects=list(subjects),
        tags=None,
    )
    in_arrival_week(lambda week: _store(from_batches([batch], summing_signature(1)), week, all_new=False))
    if moment is not None:
        newest = PredictionChunk.objects.filter(is_packed=False).latest("pk")
        PredictionChunk.objects.filter(pk=newest.pk, day=newest.day).update(created_at=moment)


def log_minutes(deployment: Deployment, minutes: int, champion: int, canary: int) -> None:
    """Log so many rows of both sides in each of the last minutes, each row of another caller."""
    for minute in reversed(range(minutes)):
        for role, rows in (("champion", champion), ("canary", canary)):
            subjects = [f"{role}-{minute}-{place}" for place in range(rows)]
            log(deployment, role, subjects, moment=now() - timedelta(minutes=minute + 1))


def pack(*versions: Version | None) -> None:
    """Pack what these versions answered up to now."""
    for role in ("champion", "canary"):
        fresh = PredictionChunk.objects.filter(is_packed=False, version__in=versions, role=role)
        for model_id, version_id, day in set(fresh.values_list("model_id", "version_id", "day")):
            unpacked = UnpackedDay(model_id=model_id, version_id=version_id, role=role, day=day)
            UnpackedDay.objects.bulk_create([unpacked], ignore_conflicts=True)
    while pack_next():
        pass


@pytest.fixture
def model(db: None) -> Model:
    return make_model(Project.objects.create(name="Coins", slug="coins"))


class TestSplitOf:
    def test_counts_callers_and_not_their_rows(self, model: Model) -> None:
        deployment = begin_canary(model, "subject")
        log(deployment, "champion", ["ann"] * 300 + ["bob"])
        log(deployment, "canary", ["cid", "dan"])

        split = split_of(deployment)

        assert split is not None
        assert (split.champion, split.canary, split.is_mismatch) == (2, 2, False)

    def test_counts_requests_where_they_carry_no_key(self, model: Model) -> None:
        deployment = begin_canary(model, "client_id")
        log(deployment, "champion", ["ann"] * 300)
        log(deployment, "canary", ["cid"] * 100)

        split = split_of(deployment)

        assert split is not None
        assert (split.champion, split.canary, split.is_mismatch) == (300, 100, True)

    def test_joins_the_rows_of_one_request_and_not_the_ids_that_callers_chose(self, model: Model) -> None:
        deployment = begin_canary(model, "client_id")
        log(deployment, "champion", ["ann"] * 3, ids=row_ids(new_id(), 3, 0, 3))
        ids = ["order:1", "order:2", "order:3"]
        log(deployment, "canary", ["cid"] * 3, ids=ids, latencies_us=[900, 1_000, 1_100])

        split = split_of(deployment)

        assert split is not None
        assert (split.champion, split.canary) == (1, 3)

    def test_joins_the_rows_of_a_batch_whose_id_the_caller_chose(self, model: Model) -> None:
        deployment = begin_canary(model, "client_id")
        log(deployment, "champion", ["ann"] * 40, ids=[f"batch-7:{place}" for place in range(40)])

        split = split_of(deployment)

        assert split is not None
        assert (split.champion, split.canary) == (1, 0)

    def test_begins_when_the_weight_was_set(self, model: Model) -> None:
        deployment = begin_canary(model, "subject")
        log(deployment, "champion", ["ann"])
        deployment.canary_since = now()

        split = split_of(deployment)

        assert split is not None
        assert split.champion == 0

    @pytest.mark.slow
    def test_counts_both_sides_over_one_period_when_they_are_packed_at_different_times(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(compaction, "CHUNK_ROWS", 100)
        deployment = begin_canary(model, "subject")
        log_minutes(deployment, 30, champion=20, canary=20)
        pack(deployment.canary)

        for packed_too in (None, deployment.champion):
            pack(packed_too)
            split = split_of(deployment, max_rows=300)

            assert split is not None
            assert abs(split.champion - split.canary) <= 20, split
            assert 150 <= split.champion + split.canary <= 600

    @pytest.mark.slow
    def test_counts_few_rows_of_one_side_over_the_period_of_the_other(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(compaction, "CHUNK_ROWS", 100)
        deployment = begin_canary(model, "subject")
        log_minutes(deployment, 30, champion=19, canary=1)
        pack(deployment.champion)

        split = split_of(deployment, max_rows=200)

        assert split is not None
        assert split.champion / split.canary == pytest.approx(19, rel=0.1)
        assert split.champion < 400


class TestMonitors:
    def test_count_a_canarys_rows_among_those_that_callers_were_answered(self, model: Model) -> None:
        Model.objects.filter(pk=model.pk).update(task="regression")
        deployment = begin_canary(model, "subject")
        log(deployment, "champion", ["ann"] * 30)
        log(deployment, "canary", ["cid"] * 20)

        summarise(model.pk)
        measure(model.pk)

        counts = {
            (point.role, point.version): point.value
            for point in MetricPoint.objects.filter(model=model, metric="count", span="day")
        }
        assert counts == {("champion", ""): 50, ("champion", "1"): 30, ("canary", "2"): 20}
