"""A person's rows go from a packed chunk whose labels are folded: the others keep theirs, each at its row."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from driftline.operations.invariants import check_all
from inference.prediction_log.erasure import services
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.places import spool
from inference.prediction_log.erasure.services import request_erasure
from inference.prediction_log.ingest import arrival
from inference.prediction_log.items import LabelItem
from inference.prediction_log.labels import services as labels
from inference.prediction_log.labels.folding import fold_labels
from inference.prediction_log.models import Label, PredictionChunk
from inference.prediction_log.queries.selectors import frame_of, prediction
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from tests.flows.canary import places_of
from tests.inference.prediction_log.ingest.late_rows import label_late
from tests.inference.prediction_log.labels.closed_weeks import let_narrow_rows_go
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day

pytestmark = pytest.mark.slow

END = DAY + timedelta(days=1)
CANARY = "zoe.canary@example.com"
TOLD = "canary-diagnosis"
GONE = (0, 4, 5)  # the first row, and two beside each other: what comes after moves up by one and by three


@pytest.fixture(autouse=True)
def everything_arrived_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "_closed", set())
    monkeypatch.setattr(arrival, "_clock", "timestamptz '2026-01-07 12:00Z'")
    monkeypatch.setattr(spool, "SETTLED_AFTER", timedelta(0))


@pytest.fixture
def model(project: Project, home: Path) -> Model:
    return make_model(project)


@pytest.fixture
def rows(model: Model) -> list[SentPrediction]:
    """Log a day in which each row but every third has a label of its own text, and let all labels be folded."""
    sent = [
        replace(row, subject=CANARY if place in GONE else f"someone-{place % 3}")
        for place, row in enumerate(rows_of_a_day(DAY, 12))
    ]
    log(model, sent)
    label(model, [LabelItem(row.id, text, told_at(place)) for place, row, text in labelled(sent)])
    corrected = [LabelItem(sent[7].id, "corrected", None), LabelItem(sent[4].id, TOLD + "-again", None)]
    label(model, corrected)
    let_narrow_rows_go()
    assert not Label.objects.exists()
    assert PredictionChunk.objects.get().labels is not None
    return sent


def told_at(place: int) -> datetime:
    return DAY + timedelta(days=2, minutes=place)


def labelled(sent: list[SentPrediction]) -> list[tuple[int, SentPrediction, str]]:
    return [
        (place, row, f"{TOLD}-{place}" if place in GONE else f"label-{place}")
        for place, row in enumerate(sent)
        if place % 3 != 2 or place in GONE
    ]


def erase(model: Model) -> dict[str, Any]:
    asked = request_erasure(project=model.project, key=CANARY, actor="test")
    for _ in range(20):
        services.resume_erasure(asked.pk)
        erasure = Erasure.objects.get(pk=asked.pk)
        if erasure.state == Erasure.State.DONE:
            return erasure.counts
    raise AssertionError(erasure.waiting_for or erasure.error)


def history(model: Model, id_: str) -> list[tuple[str, int, bool]]:
    found = prediction(model=model, prediction_id=id_)
    assert found is not None
    return [(told["value"], told["revision"], told["is_current"]) for told in found["labels"]]


def test_the_others_keep_their_labels_and_nothing_of_the_erased_ones_is_left(
    model: Model, rows: list[SentPrediction], home: Path
) -> None:
    assert places_of(TOLD, home)
    expected = {row.id: text for place, row, text in labelled(rows) if place not in GONE}
    expected |= {rows[7].id: "corrected"}

    counts = erase(model)

    frame = frame_of(model=model, start=DAY, end=END)
    kept = [row.id for place, row in enumerate(rows) if place not in GONE]
    assert dict(zip(frame.ids, frame.label, strict=True)) == {id_: expected.get(id_) for id_ in kept}
    assert frame.label_time_us[0] == round(told_at(1).timestamp() * 1e6)
    assert (counts["predictions"], counts["labels"]) == (3, 4)
    assert places_of(TOLD, home) | places_of(CANARY, home) == set()
    assert not [result for result in check_all() if not result.holds]


def test_corrections_go_on_where_they_were(model: Model, rows: list[SentPrediction]) -> None:
    erase(model)

    assert label_late(model, rows[7].id, "corrected") == "duplicate"
    assert label_late(model, rows[7].id, "again") == "superseded"
    assert label_late(model, rows[8].id, "late") == "accepted"
    assert label_late(model, rows[4].id, "unknown") == "pending_prediction"

    assert fold_labels() == 2
    assert history(model, rows[7].id) == [("label-7", 1, False), ("corrected", 2, False), ("again", 3, True)]
    assert history(model, rows[8].id) == [("late", 1, True)]
    assert history(model, rows[6].id) == [("label-6", 1, True)]
    assert prediction(model=model, prediction_id=rows[4].id) is None


def test_a_correction_that_had_found_its_row_before_the_rows_moved_is_not_taken_for_anothers(
    model: Model, rows: list[SentPrediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = labels.search

    def erase_after(*given: Any) -> Any:
        found = search(*given)
        monkeypatch.setattr(labels, "search", search)
        erase(model)
        return found

    monkeypatch.setattr(labels, "search", erase_after)

    assert label_late(model, rows[6].id, "label-9") == "superseded"  # row 9 lies where row 6 was
    assert history(model, rows[6].id) == [("label-6", 1, False), ("label-9", 2, True)]


def test_a_label_that_arrives_while_its_prediction_is_erased_does_not_join_it(
    model: Model, rows: list[SentPrediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = labels.search

    def erase_after(*given: Any) -> Any:
        found = search(*given)
        monkeypatch.setattr(labels, "search", search)
        erase(model)
        return found

    monkeypatch.setattr(labels, "search", erase_after)

    assert label_late(model, rows[5].id, "1") == "pending_prediction"
