"""A feature that is kept in summaries alone: each value is used once and let go, and the rest of its row stays."""

from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from msgspec.structs import replace

from driftline.accounts.models import Project
from driftline.common.errors import Problem
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.queries.exports import Wanted, export_predictions
from inference.prediction_log.queries.selectors import frame_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.definitions.segments import set_segments
from monitors.metrics.models import MetricPoint
from monitors.summaries.services import summarise
from tests.driftline.api.conftest import caller
from tests.flows.canary import places_of
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths, work
from tests.worlds.summaries import CANARY, broken_invariants, let_workers_die, summaries_of

NEXT_DAY = DAY + timedelta(days=1)


def keep(model: Model, policy: str, *features: str) -> None:
    update_model(model=model, actor="test", privacy=dict.fromkeys(features, policy))


def rows(n: int, *, note: str = CANARY) -> list[SentPrediction]:
    """A day's rows with a number and a text that are nobody's business."""
    return [
        replace(row, features=row.features | {"salary": 4711.25 + place, "note": note})
        for place, row in enumerate(rows_of_a_day(DAY, n))
    ]


def logged(model: Model) -> Any:
    return frame_of(model=model, start=DAY, end=NEXT_DAY)


class TestValues:
    def test_are_measured_and_then_found_in_no_row(self, model: Model, home: Path) -> None:
        keep(model, "summary", "salary", "note")
        log(model, rows(60))

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
        keep(model, "summary", "salary", "note")
        sent = rows(48)
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
        log(model, rows(24))
        grow_old()
        pack_all()
        log(model, [replace(row, id=f"{row.id}-again") for row in rows(24)])
        work(model)
        before = summaries_of(model)

        keep(model, "summary", "salary", "note")
        work(model)

        assert summaries_of(model) == before
        assert places_of(CANARY, home) <= {"monitors_summary.payload"}
        assert PredictionChunk.objects.filter(model=model, is_packed=True).exists()
        assert broken_invariants() == []

    def test_that_are_gone_are_not_exported_as_missing(self, model: Model) -> None:
        keep(model, "summary", "salary", "note")
        log(model, rows(3))
        work(model)
        sink = BytesIO()

        export_predictions(wanted=Wanted(model), sink=sink, actor="test")

        names = pq.read_schema(sink).names
        assert "income" in names
        assert not {"salary", "note"} & set(names)


class TestSummaries:
    @trying(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        parts=st.lists(st.sampled_from(range(6)), min_size=24, max_size=24),
        steps=st.lists(st.sampled_from(["keep", "summary", "work", "pack", "none"]), min_size=6, max_size=6),
    )
    def test_do_not_depend_on_when_values_went(
        self, project: Project, parts: list[int], steps: list[str]
    ) -> None:
        keeps, lets_go = (
            make_model(project, f"m{Model.objects.count()}-{name}") for name in ("keeps", "lets-go")
        )
        sent = rows(24)
        for model in (keeps, lets_go):
            set_segments(model=model, features=["region"], actor="test")
            log(model, sent[:1])  # fixes the centres alike
            summarise(model.pk)

        for part, step in enumerate(steps):
            for model in (keeps, lets_go):
                if some := [row for row, of in zip(sent[1:], parts[1:], strict=True) if of == part]:
                    log(model, some)
            if step in ("keep", "summary"):
                keep(lets_go, step, "salary", "note")
            elif step == "none":
                update_model(model=lets_go, actor="test", rows_kept="none")
            elif step == "pack":
                grow_old()
                pack_all()
            else:
                summarise(lets_go.pk)
        for model in (keeps, lets_go):
            summarise(model.pk)

        assert summaries_of(lets_go) == summaries_of(keeps)
        assert broken_invariants() == []


@pytest.mark.django_db(transaction=True)
class TestAWorkerThatIsKilled:
    def test_adds_values_once(self, model: Model) -> None:
        keep(model, "summary", "salary", "note")
        log(model, rows(30))

        let_workers_die(model, "apply_change", "_request_rebuild", "finish")
        work(model)

        assert summaries_of(model)["day", DAY, "champion", ""]["columns"]["note"][0] == {CANARY: 30}
        assert broken_invariants() == []


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
        log(model, rows(20))

        work(model)

        found = summaries_of(model)
        north = found["day", DAY, "champion", "region:north"]
        assert north["columns"]["note"][0] == {CANARY: north["rows"]}
