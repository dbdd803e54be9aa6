"""Which span fits the days that a model has had."""

from datetime import UTC, datetime, timedelta

import pytest

from driftline.base.accounts.models import Project
from inference.registry.services import create_model
from monitors.definitions.models import Monitor
from monitors.metrics.inputs.fitting import WindowRows, fitting_span, set_span
from monitors.metrics.store.models import DetectorState

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
ONE_DAY = timedelta(days=1)


def fitting(rows: list[int], *, first: datetime, span: str = "day") -> str:
    monitor = Monitor(kind="quality", min_rows=100, span=span)
    days = [WindowRows(first + number * ONE_DAY, n, 0) for number, n in enumerate(rows)]
    return fitting_span(days, monitor, until=first + len(rows) * ONE_DAY, since=first)


@pytest.mark.parametrize(("rows", "span"), [(20, "week"), (10, "month"), (120, "day")])
def test_a_week_that_began_before_the_first_row_says_nothing_of_weeks(rows: int, span: str) -> None:
    saturday = MONDAY + 5 * ONE_DAY

    assert fitting([rows] * 3, first=saturday) == span


def test_a_model_of_few_rows_stays_with_its_weeks() -> None:
    for days in range(3, 60):
        assert fitting([20] * days, first=MONDAY + 5 * ONE_DAY, span="week") == "week"


def test_other_windows_of_performance_leave_what_drift_adds_up_to(db: None) -> None:
    project = Project.objects.create(slug="bank", name="Bank")
    model = create_model(project=project, name="approvals", task="binary", actor="test")
    for detector in ("drift", "performance", "adwin"):
        DetectorState.objects.create(
            model=model, role="champion", version="", span="day", detector=detector, until=MONDAY, payload=b"state"
        )  # fmt: skip

    set_span(monitor=model.monitors.get(kind="performance"), span="week", actor="test")

    assert [state.detector for state in DetectorState.objects.all()] == ["drift"]
