"""A model that keeps no rows: each is summarised and let go, and nothing that is measured changes by that."""

import re
from collections.abc import Sequence
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from msgspec.structs import replace

from driftline.base.accounts.models import User
from inference.prediction_log.erasure import services as erasures
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.places import spool
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.services import FileSender, import_upload
from inference.prediction_log.models import Label, PackedDay, PredictionChunk, PredictionRow, SummedDay
from inference.prediction_log.queries.selectors import newest_event, oldest_event
from inference.prediction_log.retention.expiry import forget_summed_days
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.prediction_log.rows_kept import RowsNotKept
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.definitions.segment_masks import MAX_VALUES
from monitors.definitions.segments import set_segments
from monitors.metrics.store.models import MetricPoint
from monitors.summaries.models import Summary
from monitors.summaries.services import summarise
from monitors.workflows.steps.snapshot import snapshot
from tests.driftline.api.conftest import Api, caller
from tests.flows.canary import places_of
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.worlds.approvals import (
    DAY,
    give_reference,
    label,
    log,
    rows_of_a_day,
    send,
    truths,
    work,
)
from tests.worlds.summaries import CANARY, broken_invariants, summaries_of

pytestmark = pytest.mark.slow

NEXT_DAY = DAY + timedelta(days=1)


def keep(model: Model, rows: str) -> None:
    update_model(model=model, actor="test", rows_kept=rows)


def holds_rows(model: Model) -> bool:
    return (
        PredictionChunk.objects.filter(model=model).exists() or PackedDay.objects.filter(model=model).exists()
    )


def of_canary(rows: Sequence[SentPrediction]) -> list[SentPrediction]:
    return [
        replace(row, features={"income": 4711.25, "region": CANARY}, tags={"mail": CANARY}, subject=CANARY)
        for row in rows
    ]


class TestRows:
    def test_are_measured_and_then_found_nowhere(self, model: Model, home: Path) -> None:
        give_reference(model)
        keep(model, "none")

        log(model, [*rows_of_a_day(DAY, 300, shift=1.5), *of_canary(rows_of_a_day(NEXT_DAY, 2))])
        work(model)

        points = MetricPoint.objects.filter(model=model, span="day", start=DAY, version="", segment="")
        measured = dict(points.filter(feature__in=("", "income")).values_list("metric", "value"))
        assert measured["count"] == 300
        assert measured["missing_share"] == 0
        assert measured["psi"] > 0.5
        assert not holds_rows(model)
        assert places_of(CANARY, home) <= {"monitors_summary.payload"}  # how often
        assert newest_event(model) > NEXT_DAY  # type: ignore[operator]
        assert oldest_event(model) == DAY

    def test_that_come_late_are_added_and_repeated_ones_are_not(self, model: Model) -> None:
        keep(model, "none")
        rows = rows_of_a_day(DAY, 48)
        log(model, rows[::2])
        work(model)

        late = send(model, rows)
        work(model)

        assert (late.accepted, late.duplicates) == (24, 24)
        assert summaries_of(model)["day", DAY, "champion", ""]["rows"] == 48
        assert PredictionRow.objects.filter(model=model).count() == 48
        assert broken_invariants() == []

    def test_that_were_packed_before_go_with_their_labels_and_leave_what_these_showed(
        self, model: Model
    ) -> None:
        rows = rows_of_a_day(DAY, 60)
        log(model, rows)
        label(model, truths(rows))
        shadows = [replace(row, version="2", role="shadow") for row in rows]
        log(model, shadows)
        grow_old()
        pack_all()
        work(model)
        before = summaries_of(model)

        keep(model, "none")
        work(model)

        assert not holds_rows(model)
        assert not Label.objects.exists()
        assert summaries_of(model) == before
        assert before["day", DAY, "shadow", ""]["labelled"] == 60
        assert broken_invariants() == []

    def test_are_forgotten_as_days_when_their_retention_ends(self, model: Model) -> None:
        keep(model, "none")
        update_model(model=model, actor="test", retention_days=1)
        for day in (DAY, DAY + timedelta(days=3)):
            log(model, rows_of_a_day(day, 2))
            work(model)

        gone = forget_summed_days(timezone.now())

        assert gone == 1
        assert oldest_event(model) == DAY + timedelta(days=3)


class TestSummaries:
    def test_give_no_more_values_a_place_than_one_look_at_all_rows_would(self, model: Model) -> None:
        set_segments(model=model, features=["region"], actor="test")
        keep(model, "none")
        [row] = rows_of_a_day(DAY, 1)
        of_shop = [
            replace(row, id=f"{visit}-{shop}", features={"region": f"shop {shop}"})
            for visit in range(2)
            for shop in range(MAX_VALUES + 10)
        ]

        for start in range(0, len(of_shop), 30):
            log(model, of_shop[start : start + 30])
            summarise(model.pk)

        segments = Summary.objects.filter(model=model, span="hour").exclude(segment="")
        assert [one.rows for one in segments] == [2] * MAX_VALUES


class TestWhatNeedsRows:
    @pytest.fixture
    def api(self, model: Model) -> Api:
        log(model, rows_of_a_day(DAY, 3))
        keep(model, "none")
        return caller("bank")

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/labels", {"labels": [{"id": "20260105-0", "label": "1"}]}),
            ("GET", "/predictions", None),
            ("GET", "/predictions/20260105-0", None),
            ("GET", "/export", None),
            ("POST", "/runs", None),
            ("GET", "/comparison?challenger=1", None),
            ("GET", "/agreement?challenger=1", None),
        ],
    )
    def test_is_refused_with_the_reason(
        self, api: Api, model: Model, method: str, path: str, body: Any
    ) -> None:
        answer = api.send(method, f"/models/{model.name}{path}", body)

        assert answer.status_code == 409
        assert answer.json()["code"] == "rows_not_kept"
        assert "rows_kept is none" in answer.json()["detail"]

    def test_comes_back_with_rows_that_come_after_they_are_kept_again(self, api: Api, model: Model) -> None:
        work(model)

        told = api.send("PATCH", f"/models/{model.name}", {"rows_kept": "all"}).json()
        log(model, rows_of_a_day(NEXT_DAY, 2))

        assert told["rows_kept"] == "all"
        assert len(api.get(f"/models/{model.name}/predictions").json()["items"]) == 2
        assert api.get(f"/models/{model.name}/predictions/20260105-0").status_code == 404

    @pytest.mark.parametrize("kind", ["predictions", "labels"])
    def test_is_refused_in_a_file_before_any_of_it_is_stored(self, api: Api, model: Model, kind: str) -> None:
        columns = {"predictions": "id,timestamp,prediction,income,label", "labels": "id,label,timestamp"}
        values = {"predictions": "a,2026-01-05T00:00:00Z,1,1.5,1", "labels": "a,1,2026-01-05T00:00:00Z"}

        with pytest.raises(RowsNotKept, match="A label needs rows"):
            import_upload(
                model=model,
                kind=kind,
                stream=BytesIO(f"{columns[kind]}\n{values[kind]}\n".encode()),
                name="mine.csv",
                version="",
                sender=FileSender("test"),
            )

        assert not Import.objects.exists()

    def test_ends_a_run_that_was_under_way(self, api: Api, model: Model) -> None:
        with pytest.raises(RowsNotKept, match="A run needs rows"):
            snapshot(SimpleNamespace(model=model))  # type: ignore[arg-type]

    def test_labels_that_waited_go_when_no_row_can_come_for_them(self, model: Model) -> None:
        label(model, truths(rows_of_a_day(DAY, 3)))

        keep(model, "none")

        assert not Label.objects.exists()

    def test_refuses_what_is_no_choice(self, api: Api, model: Model) -> None:
        answer = api.send("PATCH", f"/models/{model.name}", {"rows_kept": "some"})

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/rows_kept"


class TestErasure:
    def test_says_that_nobody_can_be_taken_out_of_sums(
        self, model: Model, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spool, "SETTLED_AFTER", timedelta(0))
        keep(model, "none")
        log(model, of_canary(rows_of_a_day(DAY, 3)))
        work(model)
        log(model, of_canary(rows_of_a_day(NEXT_DAY, 2)))  # which wait

        receipt = erasures.request_erasure(project=model.project, key=CANARY, actor="test")
        erasures.resume_erasure(receipt.pk)
        work(model)

        receipt = Erasure.objects.get()
        assert (receipt.state, receipt.counts["predictions"]) == ("done", 2)
        assert receipt.remains == [model.name]
        assert (
            places_of(CANARY, home) == set()
        )  # a category that names the person is counted among the rare ones
        assert summaries_of(model)["day", DAY, "champion", ""]["rows"] == 3
        assert ("day", NEXT_DAY, "champion", "") not in summaries_of(model)
        assert broken_invariants() == []


class TestPages:
    @pytest.fixture
    def client(self, model: Model) -> Client:
        user = User.objects.create_user("owner@bank.example")
        user.memberships.create(project=model.project, role="admin")
        client = PagesClient()
        client.force_login(user)
        return client

    def test_let_rows_go_only_after_a_confirmation(self, client: Client, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 3))
        work(model)
        path = f"/models/{model.name}/settings"
        sent = {"rows_kept": "none", "feature_0": "keep", "feature_1": "keep"}

        refused = client.post(path, sent)
        kept = holds_rows(model)
        shown = re.search(r'name="shown" value="([^"]*)"', refused.content.decode())
        assert shown is not None
        client.post(path, sent | {"sure": "on", "shown": shown[1]})
        work(model)

        assert refused.status_code == 422
        assert "This deletes" in markup(refused)
        assert kept
        assert not holds_rows(model)
        assert SummedDay.objects.get().rows == 3

    def test_say_why_there_is_no_prediction_to_look_at(self, client: Client, model: Model) -> None:
        keep(model, "none")

        shown = markup(client.get(f"/models/{model.name}/predictions"))

        assert "keeps no rows" in shown
        assert "Send the first one" not in shown
