"""Which windows of a period are listed where months alone were kept of its beginning."""

from datetime import UTC, datetime, timedelta

import pytest

from driftline.base.accounts.models import Project
from driftline.base.periods import Period
from inference.registry.models import Model, Version
from inference.registry.services import create_model
from monitors.metrics.periods import windows_held
from monitors.summaries.models import Summary

MARCH, APRIL = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4))
ONE_DAY = timedelta(days=1)


@pytest.fixture
def model(db: None) -> Model:
    """A model with days from April on, and before them the month of March."""
    project = Project.objects.create(slug="bank", name="Bank")
    model = create_model(project=project, name="approvals", task="binary", actor="test")
    version = Version.objects.create(model=model, version="1")
    Summary.objects.create(
        model=model, version=version, role="champion", span="month", start=MARCH, rows=9, payload=b""
    )
    return model


@pytest.mark.parametrize(
    ("step", "first"),
    [pytest.param("7d", APRIL, id="rolling"), pytest.param("week", APRIL + 5 * ONE_DAY, id="weeks")],
)
def test_none_counts_only_a_part_of_its_days(model: Model, step: str, first: datetime) -> None:
    held = windows_held(model, Period(MARCH, APRIL + 20 * ONE_DAY), step)

    assert held[0] == ("month", Period(MARCH, APRIL))
    assert min(window.start for length, window in held if length == step) == first


def test_a_period_after_the_months_begins_with_whole_windows(model: Model) -> None:
    held = windows_held(model, Period(APRIL + 2 * ONE_DAY, APRIL + 20 * ONE_DAY), "7d")

    assert held[0] == ("7d", Period(APRIL, APRIL + 7 * ONE_DAY))
