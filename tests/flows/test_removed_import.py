"""The rows of a wrong import go out of the log again, with their labels, and out of summaries and points."""

from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry
from driftline.base.errors import Problem
from inference.prediction_log.imports import removal, services
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.services import FileSender, import_upload
from inference.prediction_log.models import Label, PredictionRow
from inference.prediction_log.storage.compaction import find_unpacked, pack_next
from inference.registry.models import Model
from monitors.alerts.incidents import handling
from monitors.alerts.models import Incident
from monitors.metrics.store.models import MetricPoint
from monitors.rules.judging.states import explain_state
from monitors.rules.models import Rule, Transition
from monitors.rules.services import create_rule
from monitors.summaries.models import Summary
from tests.worlds.approvals import DAY, log, rows_of_a_day, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

NEXT_DAY = DAY + timedelta(days=1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


def bring(model: Model, rows: list[Any], *, prefix: str = "wrong-", kind: str = "predictions") -> Import:
    head, line = (
        "id,timestamp,prediction,probability,income,region,label",
        "{0}{1.id},{1.timestamp},{1.prediction},{2}",
    )
    if kind == "labels":
        lines = ["id,label", *(f"{prefix}{row.id},1" for row in rows)]
    else:
        lines = [head] + [
            line.format(
                prefix, row, f"{row.probabilities},{row.features['income']},{row.features['region']},1"
            )
            for row in rows
        ]
    job, _ = import_upload(
        model=model, kind=kind, stream=BytesIO("\n".join(lines).encode()), name="wrong.csv", version="1",
        sender=FileSender("test"), force=True,
    )  # fmt: skip
    return services.run(job.pk, stop=lambda _: False)


def remove(job: Import) -> Import:
    removal.request_removal(job=job, actor="test")
    services.resume_import(job.pk)
    job.refresh_from_db()
    return job


def counts(model: Model) -> dict[str, int]:
    return {
        str(one.start.date()): one.rows
        for one in Summary.objects.filter(model=model, span="day", segment="", role="champion")
    }


@pytest.mark.parametrize("is_packed", [False, True])
def test_only_its_rows_go_with_their_labels_summaries_and_points(model: Model, is_packed: bool) -> None:
    log(model, rows_of_a_day(DAY, 120))
    work(model)
    before = {
        p.metric: p.value for p in MetricPoint.objects.filter(model=model, span="day", start=DAY, feature="")
    }
    job = bring(model, [*rows_of_a_day(DAY, 50, seed=1), *rows_of_a_day(NEXT_DAY, 70, seed=1)])
    work(model)
    if is_packed:
        find_unpacked()
        while pack_next():
            pass
    assert counts(model) == {"2026-01-05": 170, "2026-01-06": 70}

    removed = remove(job)
    work(model)

    assert (removed.state, removed.accepted) == ("removed", 120)
    assert counts(model) == {"2026-01-05": 120}
    assert PredictionRow.objects.filter(prediction_id__startswith="wrong-").count() == 0
    assert PredictionRow.objects.count() == 120
    assert not Label.objects.exists()
    after = {
        p.metric: p.value for p in MetricPoint.objects.filter(model=model, span="day", start=DAY, feature="")
    }
    assert after["count"] == before["count"] == 120
    assert not MetricPoint.objects.filter(model=model, start__gte=NEXT_DAY, metric="label_coverage").exists()
    assert AuditEntry.objects.filter(action="import.remove").count() == 1


def test_the_incident_of_its_rows_ends_with_them(model: Model) -> None:
    create_rule(
        project=model.project, model=model, actor="test", name="loss", metric="log_loss", threshold=0.0,
        span="day", for_windows=1,
    )  # fmt: skip
    job = bring(model, [*rows_of_a_day(DAY, 300, seed=1), *rows_of_a_day(NEXT_DAY, 300, seed=1)])
    work(model)
    handle_transitions()
    opened = Incident.objects.get()

    remove(job)
    work(model)
    handle_transitions()

    ended = Incident.objects.get()
    assert (opened.status, ended.status) == ("open", "resolved")
    assert ended.alerts.get().state == "resolved"
    assert explain_state(Rule.objects.get()).name == "no_data"


def handle_transitions() -> None:
    for transition in Transition.objects.filter(alerts_done_at=None).order_by("pk"):
        handling.handle_transition(transition.pk)


def test_rows_that_were_there_before_stay(model: Model) -> None:
    rows = rows_of_a_day(DAY, 40)
    first = bring(model, rows[:30], prefix="")
    again = bring(model, rows, prefix="")

    assert (first.accepted, again.accepted, again.duplicates) == (30, 10, 30)
    remove(again)

    assert PredictionRow.objects.count() == 30


def test_a_removal_goes_on_where_it_was_stopped(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from inference.prediction_log.imports.reading import csv_source

    monkeypatch.setattr(csv_source, "block_rows", lambda columns: 10)
    monkeypatch.setattr(removal, "_MAX_ROWS", 10)
    job = bring(model, rows_of_a_day(DAY, 45))
    removal.request_removal(job=job, actor="test")

    half = services.run(job.pk, stop=lambda job: job.removed_bytes > job.row_bytes / 2)
    left = PredictionRow.objects.count()
    services.resume_import(job.pk)

    assert half.is_being_removed
    assert 0 < left < 45
    assert not PredictionRow.objects.exists()
    assert Import.objects.get().state == "removed"


def test_what_was_removed_can_be_imported_again(model: Model, home: Path) -> None:
    job = bring(model, rows_of_a_day(DAY, 20))
    remove(job)

    again = bring(model, rows_of_a_day(DAY, 20))

    assert (again.accepted, PredictionRow.objects.count()) == (20, 20)
    assert not list(home.glob(f"imports/{job.pk}-rows"))


def test_what_cannot_be_removed_is_refused(model: Model) -> None:
    labels = bring(model, rows_of_a_day(DAY, 20), kind="labels")
    removed = remove(bring(model, rows_of_a_day(DAY, 20)))

    for job, code in ((labels, "import_of_labels"), (removed, "import_removed")):
        with pytest.raises(Problem) as refused:
            removal.request_removal(job=job, actor="test")
        assert (refused.value.status, refused.value.code) == (409, code)


def test_rows_of_a_shadow_go_too(model: Model) -> None:
    """An export of the log holds them, and can be imported. A shadow's copies of other rows are not its."""
    rows = rows_of_a_day(DAY, 30)
    lines = ["id,timestamp,prediction,income,role,version"]
    for role, version in (("champion", "1"), ("shadow", "2")):
        lines += [
            f"{row.id},{row.timestamp},{row.prediction},{row.features['income']},{role},{version}"
            for row in rows
        ]
    job, _ = import_upload(
        model=model, kind="predictions", stream=BytesIO("\n".join(lines).encode()), name="log.csv", version="1",
        sender=FileSender("test"),
    )  # fmt: skip
    services.run(job.pk, stop=lambda _: False)
    work(model)
    assert PredictionRow.objects.count() == 60

    remove(Import.objects.get())
    work(model)

    assert PredictionRow.objects.count() == 0
    assert not Summary.objects.filter(model=model, rows__gt=0).exists()
