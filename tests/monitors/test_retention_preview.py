"""The preview of a changed retention counts exactly the rows and bytes that are deleted afterwards."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from inference.prediction_log.ingest import arrival
from inference.prediction_log.lake.services import set_lake
from inference.prediction_log.lake.settings import LakeSettings
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.tasks import expire as expire_rows
from inference.registry.models import Model, RowsKept
from inference.registry.services import update_model
from monitors.metrics.tasks import expire as expire_summaries
from monitors.retention_preview import RetentionPreview, preview_retention
from monitors.summaries.models import Summary
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

SECOND, LAST = DAY + timedelta(days=1), DAY + timedelta(days=40)
TODAY = LAST + timedelta(days=1)  # by the event clock: two hours after the last event
ARRIVED = "timestamptz '2026-01-07 12:00Z'"


@pytest.fixture(autouse=True)
def _everything_arrived_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "_closed", set())
    monkeypatch.setattr(arrival, "_clock", ARRIVED)


@pytest.fixture
def model() -> Model:
    model = make_model(Project.objects.create(slug="bank", name="Bank"))
    log_days(model, DAY, SECOND, LAST)
    return model


def log_days(model: Model, *days: datetime) -> None:
    for day in days:
        log(model, rows_of_a_day(day, 24))
    grow_old()
    pack_all()
    work(model)
    connection.check_constraints()  # as a commit does


def preview(model: Model, **changes: Any) -> RetentionPreview:
    return preview_retention(model=model, now=timezone.now(), **changes)


def change(model: Model, **changes: Any) -> None:
    update_model(model=model, actor="test", **changes)
    expire_rows()
    expire_summaries()


def give_lake(model: Model, settings: Any, folder: Path) -> None:
    settings.LAKE_FOLDERS = [str(folder)]
    set_lake(project=model.project, settings=LakeSettings(folder=str(folder)), actor="test")


def bytes_of_log() -> int:
    chunks = PredictionChunk.objects.values_list("payload", "id_hashes", "labels")
    return sum(len(part or b"") for chunk in chunks for part in chunk)


def sizes_of_summaries() -> tuple[int, int]:
    parts = list(Summary.objects.values_list("payload", "blocks"))
    return len(parts), sum(len(part or b"") for both in parts for part in both)


def test_rows_go_in_the_number_and_bytes_that_were_named(model: Model) -> None:
    before = bytes_of_log()
    named = preview(model, retention_days=10).rows

    change(model, retention_days=10)

    assert (named.rows, named.days, named.bytes) == (48, 2, before - bytes_of_log())
    assert named.before == (TODAY - timedelta(days=10)).date()
    assert list(PredictionChunk.objects.values_list("rows", flat=True)) == [24]


def test_summaries_go_in_the_number_and_bytes_that_were_named(model: Model) -> None:
    count, size = sizes_of_summaries()
    named = preview(model, retention_days=10, summary_retention_days=20).summaries

    change(model, retention_days=10, summary_retention_days=20)

    assert (count - named.count, size - named.bytes) == sizes_of_summaries()
    assert named.count > 0
    assert named.before == (TODAY - timedelta(days=20)).date()


def test_summaries_of_rows_that_stay_are_not_named(model: Model) -> None:
    found = preview(model, summary_retention_days=20)

    assert (found.summaries.count, found.bytes) == (0, 0)
    assert found.sentence == "Nothing that is stored is old enough to be deleted now."


def test_what_is_due_to_go_anyway_is_not_named(model: Model) -> None:
    update_model(model=model, actor="test", retention_days=40)

    named = preview(model, retention_days=10).rows

    assert (named.rows, named.days) == (24, 1)


def test_a_longer_retention_deletes_nothing(model: Model) -> None:
    update_model(model=model, actor="test", retention_days=39)

    assert preview(model, retention_days=0).bytes == 0


def test_a_model_that_keeps_no_rows_any_more_loses_all_of_them(model: Model) -> None:
    found = preview(model, rows_kept=RowsKept.NONE)

    assert (found.rows.rows, found.rows.bytes, found.rows.before) == (72, bytes_of_log(), None)
    assert found.sentence.endswith(": 72 rows of 3 days, all that are stored.")


def test_rows_that_must_still_be_found_by_their_ids_go_later(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    expire_rows()  # drops the narrow rows of that week
    monkeypatch.setattr(arrival, "_clock", "now()")
    log_days(model, DAY + timedelta(days=2))

    found = preview(model, retention_days=10)

    assert (found.rows.rows, found.rows.later) == (72, 24)
    assert "from before 2026-02-05, 24 of them once their ids need not be refused any more" in found.sentence


def test_rows_of_a_project_with_a_lake_go_by_whole_days_once_they_are_in_it(
    model: Model, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    give_lake(model, settings, tmp_path)
    expire_rows()  # drops the narrow rows of that week
    monkeypatch.setattr(arrival, "_clock", "now()")
    log(model, [replace(row, id=f"late-{row.id}") for row in rows_of_a_day(DAY, 2)])

    found = preview(model, retention_days=10)

    assert (found.rows.rows, found.rows.later) == (50, 26)
    assert (
        "from before 2026-02-05, once they are in the lake, 26 of them once their ids need not be refused any more"
        in found.sentence
    )


def test_a_model_that_keeps_no_rows_any_more_waits_for_no_lake(
    model: Model, settings: Any, tmp_path: Path
) -> None:
    give_lake(model, settings, tmp_path)

    assert preview(model, rows_kept=RowsKept.NONE).sentence.endswith("all that are stored.")


def test_of_another_model_nothing_is_counted(model: Model) -> None:
    other = make_model(model.project, "other")
    log_days(other, DAY, LAST)

    assert preview(model, retention_days=10).rows.rows == 48


def test_nothing_is_changed(model: Model) -> None:
    preview(model, retention_days=1, rows_kept=RowsKept.NONE)

    model.refresh_from_db()
    assert (model.retention_days, model.rows_kept) == (None, RowsKept.ALL)
    assert PredictionChunk.objects.count() == 3
