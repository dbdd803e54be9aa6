"""Old days of the log go whole, by each model's own event clock, and nothing else goes."""

from datetime import UTC, date, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from driftline.operations.invariants import check_all
from inference.prediction_log.ingest import arrival
from inference.prediction_log.models import PackedDay, PredictionChunk
from inference.prediction_log.queries.selectors import frame_of
from inference.prediction_log.retention.expiry import delete_expired_day, find_expired
from inference.prediction_log.storage import partitions
from inference.prediction_log.tasks import expire
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.summaries.models import Summary
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day, work

pytestmark = pytest.mark.django_db

SECOND = DAY + timedelta(days=1)
LAST = DAY + timedelta(days=40)


@pytest.fixture(autouse=True)
def _everything_arrived_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "_closed", set())
    monkeypatch.setattr(arrival, "_clock", "timestamptz '2026-01-07 12:00Z'")


@pytest.fixture
def project() -> Project:
    return Project.objects.create(slug="p", name="P")


def days_of(model: Model) -> list[date]:
    return sorted(set(PredictionChunk.objects.filter(model=model).values_list("day", flat=True)))


def log_days(model: Model, *days: datetime) -> None:
    for day in days:
        log(model, rows_of_a_day(day, 5))
    grow_old()
    pack_all()
    connection.check_constraints()  # as a commit does


def keep(model: Model, days: int) -> None:
    update_model(model=model, actor="test", retention_days=days)


def test_days_beyond_a_models_retention_are_dropped_with_their_partitions(project: Project) -> None:
    model = make_model(project)
    log_days(model, DAY, SECOND, LAST)
    keep(model, 39)

    expire()

    assert days_of(model) == [SECOND.date(), LAST.date()]
    assert DAY.date() not in partitions.DAYS.starts()
    assert {SECOND.date(), LAST.date()} <= set(partitions.DAYS.starts())
    assert not len(frame_of(model=model, start=DAY, end=SECOND))


def test_the_days_are_counted_by_the_models_own_events(project: Project) -> None:
    history = make_model(project)
    log_days(history, DAY, LAST)  # months ago by the wall clock
    keep(history, 60)

    expire()

    assert days_of(history) == [DAY.date(), LAST.date()]


def test_a_day_that_another_model_keeps_loses_only_the_rows_of_the_one_that_does_not(
    project: Project,
) -> None:
    short, long = make_model(project, "short"), make_model(project, "long")
    for model in (short, long):
        log_days(model, DAY, LAST)
    keep(short, 7)

    expire()

    assert (days_of(short), days_of(long)) == ([LAST.date()], [DAY.date(), LAST.date()])
    assert PackedDay.objects.filter(model=short).count() == 1
    assert len(frame_of(model=long, start=DAY, end=SECOND)) == 5


def test_rows_that_have_narrow_rows_stay_however_old_their_events(project: Project) -> None:
    model = make_model(project)
    log_days(model, DAY, LAST)
    keep(model, 7)

    assert list(find_expired(datetime.now(UTC))) == []


def test_zero_days_keep_everything_for_ever(project: Project) -> None:
    model = make_model(project)
    log_days(model, DAY, DAY + timedelta(days=4000))
    keep(model, 0)

    expire()

    assert len(days_of(model)) == 2


def test_the_installations_retention_holds_where_a_model_says_nothing(
    project: Project, settings: pytest.FixtureRequest
) -> None:
    settings.RETENTION_DAYS = 10  # type: ignore[attr-defined]
    model = make_model(project)
    log_days(model, DAY, LAST)

    expire()

    assert days_of(model) == [LAST.date()]


def test_rows_that_come_between_finding_and_dropping_are_kept(project: Project) -> None:
    model, newcomer = make_model(project), make_model(project, "newcomer")
    log_days(model, DAY, LAST)
    keep(model, 7)
    weeks = partitions.WEEKS.starts()
    [expired] = [found for found in find_expired(datetime.now(UTC), without=weeks) if found.day == DAY.date()]
    log_days(newcomer, DAY)

    rows = delete_expired_day(expired)

    assert rows == 5
    assert (days_of(model), days_of(newcomer)) == ([LAST.date()], [DAY.date()])


def test_an_empty_partition_of_the_past_goes_and_those_of_the_coming_days_are_there(
    project: Project,
) -> None:
    partitions.DAYS.make([DAY.date()])
    today = datetime.now(UTC).date()

    expire()

    assert DAY.date() not in partitions.DAYS.starts()
    assert {today, today + timedelta(days=1), today + timedelta(days=2)} <= set(partitions.DAYS.starts())


def test_the_command_says_what_would_go_and_then_lets_it_go(project: Project) -> None:
    expire()  # partitions that another test left
    model = make_model(project)
    log_days(model, DAY, LAST)
    keep(model, 7)

    told = StringIO()
    call_command("expire_log", "--dry-run", stdout=told)
    assert "2026-01-05  approvals  champion  5 rows" in told.getvalue()
    assert "5 rows of 1 days and the narrow rows of 1 weeks would be deleted." in told.getvalue()
    assert len(days_of(model)) == 2

    told = StringIO()
    call_command("expire_log", stdout=told)
    assert "5 rows of 1 days and the narrow rows of 1 weeks were deleted." in told.getvalue()
    assert len(days_of(model)) == 1


def test_a_day_that_was_packed_holds_after_the_rest_expired(project: Project) -> None:
    model = make_model(project)
    log_days(model, DAY, LAST)
    keep(model, 7)
    expire()

    broken = [result for result in check_all() if not result.holds]
    assert not [result for result in broken if "packed" in result.statement]


@pytest.mark.slow
def test_a_row_that_comes_after_its_day_expired_is_added_to_its_summaries(project: Project) -> None:
    model = make_model(project)
    log_days(model, DAY, LAST)
    work(model)
    keep(model, 7)
    expire()
    keep(model, 0)  # so that the row is taken

    log(model, rows_of_a_day(DAY, 7, seed=1)[:1])
    work(model)

    assert Summary.objects.get(model=model, span="day", start=DAY, segment="").rows == 6


def test_a_retention_below_zero_is_refused(project: Project) -> None:
    model = make_model(project)

    with pytest.raises(Problem, match="retention"):
        keep(model, -1)
