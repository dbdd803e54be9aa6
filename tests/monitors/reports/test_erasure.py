"""What an erasure does to the reports that held the rows of a person."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from driftline.base.accounts.models import Project
from driftline.base.work.leased_work import claim
from inference.prediction_log.erasure import work as erasures
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.services import request_erasure
from inference.prediction_log.erasure.subject import ErasedRow, Subject
from inference.prediction_log.erasure.work import Blocked, Work
from inference.registry.models import Model
from monitors.definitions.models import FeatureProfile
from monitors.reports.data_removal import build_reports_again
from monitors.reports.models import Report
from tests.worlds.approvals import DAY, make_model

KEY = "ada@example.com"


@pytest.fixture
def model(project: Project) -> Model:
    return make_model(project)


def work_of(model: Model, *, at: int = 0) -> Work:
    """Begin to erase a person with one row, so many days after DAY."""
    requested = request_erasure(project=model.project, key=KEY, actor="test")
    lease = claim(Erasure.objects.filter(pk=requested.pk))
    assert lease is not None
    work = erasures.work_of(lease)
    time_us = round((DAY + timedelta(days=at, hours=1)).timestamp() * 1e6)
    row = ErasedRow(
        model_id=model.pk, version_id=1, role="champion", id="p1", named_in=("customer",), time_us=time_us
    )
    return replace(work, subject=Subject(KEY, [row]))


def report_of(model: Model, home: Path, content: str = "none", **fields: object) -> Report:
    report = Report.objects.create(
        model=model, start=DAY, end=DAY + timedelta(days=1), state="ready", created_by="test", **fields
    )
    (home / "reports").mkdir(exist_ok=True)
    for suffix in (".html", ".json"):
        (home / "reports" / f"{report.pk}{suffix}").write_text(content)
    Report.objects.filter(pk=report.pk).update(path=f"reports/{report.pk}.html")
    return report


def state_of(report: Report) -> str:
    return Report.objects.get(pk=report.pk).state


def test_a_report_whose_window_or_other_days_held_the_row_is_made_afresh(model: Model, home: Path) -> None:
    held = report_of(model, home)
    beside = report_of(
        model, home, reference_start=DAY - timedelta(days=2), reference_end=DAY + timedelta(days=9)
    )
    other = report_of(model, home)
    Report.objects.filter(pk=beside.pk).update(start=DAY - timedelta(days=1), end=DAY)
    Report.objects.filter(pk=other.pk).update(start=DAY - timedelta(days=1), end=DAY)

    build_reports_again(work_of(model))

    assert [state_of(one) for one in (held, beside, other)] == ["queued", "queued", "ready"]
    assert sorted(path.stem for path in (home / "reports").iterdir()) == [str(other.pk)] * 2


def test_a_report_that_names_the_person_is_made_afresh_whatever_it_is_of(model: Model, home: Path) -> None:
    report = report_of(model, home, content=f'{{"label": "{KEY}"}}')

    build_reports_again(work_of(model, at=50))

    assert state_of(report) == "queued"


def test_a_report_of_a_segment_that_is_the_person_goes(model: Model, home: Path) -> None:
    FeatureProfile.objects.create(model=model, feature="customer")
    report_of(model, home, segment=f"customer:{KEY}")
    other = report_of(model, home, segment="customer:Grace")
    Report.objects.update(start=DAY - timedelta(days=1), end=DAY)

    build_reports_again(work_of(model))

    assert list(Report.objects.values_list("pk", flat=True)) == [other.pk]


def test_one_that_is_being_made_is_waited_for(model: Model) -> None:
    Report.objects.create(
        model=model, start=DAY, end=DAY + timedelta(days=1), state="running", created_by="test",
        lease_until=timezone.now() + timedelta(minutes=1),
    )  # fmt: skip

    with pytest.raises(Blocked, match="data drift of approvals"):
        build_reports_again(work_of(model))
