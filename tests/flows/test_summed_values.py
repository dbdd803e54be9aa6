"""A feature that is kept in summaries alone: each value is used once and let go, and the rest of its row stays."""

from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from driftline.base.errors import Problem
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.queries.exports import Wanted, export_predictions
from inference.prediction_log.queries.selectors import frame_of
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.definitions.segments import set_segments
from monitors.metrics.store.models import MetricPoint
from tests.driftline.api.conftest import caller
from tests.flows.canary import places_of
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, label, log, truths, work
from tests.worlds.summaries import CANARY, broken_invariants, keep_values, rows_with_notes, summaries_of

pytestmark = pytest.mark.slow

NEXT_DAY = DAY + timedelta(days=1)


def keep(model: Model, policy: str, *features: str) -> None:
    update_model(model=model, actor="test", privacy=dict.fromkeys(features, policy))


def logged(model: Model) -> Any:
    return frame_of(model=model, start=DAY, end=NEXT_DAY)


class TestValues:
    def test_are_measured_and_then_found_in_no_row(self, model: Model, home: Path) -> None:
        keep_values(model, "summary")
        log(model, rows_with_notes(60))

        work(model)

        points = MetricPoint.objects.filter(
            model=model, span="day", start=DAY, version="", segment="", metric="missing_share"
        )
        assert dict(points.filter(feature__in=("salary", "note")).values_list("feature", "value")) == {
            "salary": 0,
            "note": 0,
        }
        assert places_of(CANARY, home) <= {"monitors_summary.payload"}
        found = logged(model)
        assert len(found) == 60
        assert not found.is_whole.any()
        assert found.features["salary"].tolist() != found.features["income"].tolist()
        [shown] = caller("bank").get(f"/models/{model.name}/predictions?limit=1").json()["items"]
        assert set(shown["features"]) == {"income", "region"}

    def test_of_late_rows_are_added_and_late_labels_add_none(self, model: Model) -> None:
        keep_values(model, "summary")
        sent = rows_with_notes(48)
        log(model, sent[::2])
        work(model)

        log(model, sent[1::2])
        label(model, truths(sent))
        work(model)

        day = summaries_of(model)["day", DAY, "champion", ""]
        assert (day["rows"], day["labelled"]) == (48, 48)
        assert sum(day["columns"]["salary"][1]) == sum(day["columns"]["income"][1]) == 48
        assert day["columns"]["note"][0] == {CANARY: 48}
        assert broken_invariants() == []

    def test_that_were_stored_before_go_as_well_packed_or_not(self, model: Model, home: Path) -> None:
        log(model, rows_with_notes(24))
        grow_old()
        pack_all()
        log(model, [replace(row, id=f"{row.id}-again") for row in rows_with_notes(24)])
        work(model)
        before = summaries_of(model)

        keep_values(model, "summary")
        work(model)

        assert summaries_of(model) == before
        assert places_of(CANARY, home) <= {"monitors_summary.payload"}
        assert PredictionChunk.objects.filter(model=model, is_packed=True).exists()
        assert broken_invariants() == []

    def test_that_are_gone_are_not_exported_as_missing(self, model: Model) -> None:
        keep_values(model, "summary")
        log(model, rows_with_notes(3))
        work(model)
        sink = BytesIO()

        export_predictions(wanted=Wanted(model), sink=sink, actor="test")

        names = pq.read_schema(sink).names
        assert "income" in names
        assert not {"salary", "note"} & set(names)


class TestSegments:
    def test_need_values_that_stay(self, model: Model) -> None:
        keep(model, "summary", "region")

        with pytest.raises(Problem) as refused:
            set_segments(model=model, features=["income", "region"], actor="test")

        assert refused.value.errors[0].pointer == "/segments/1"

    def test_keep_their_feature_from_being_let_go(self, model: Model) -> None:
        set_segments(model=model, features=["region"], actor="test")

        with pytest.raises(Problem) as refused:
            keep(model, "summary", "region")

        assert refused.value.errors[0].pointer == "/privacy/region"
        model.refresh_from_db()
        assert model.privacy == {}

    def test_of_other_features_count_the_values_too(self, model: Model) -> None:
        set_segments(model=model, features=["region"], actor="test")
        keep(model, "summary", "note")
        log(model, rows_with_notes(20))

        work(model)

        found = summaries_of(model)
        north = found["day", DAY, "champion", "region:north"]
        assert north["columns"]["note"][0] == {CANARY: north["rows"]}
