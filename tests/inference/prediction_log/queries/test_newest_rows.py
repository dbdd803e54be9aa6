"""The newest rows are read at a bounded cost, and are all rows of the period that is named."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from driftline.base.periods import Period, parse_timestamp, rfc3339, to_us
from inference.prediction_log.models import ANSWERING_ROLES
from inference.prediction_log.queries.frames import LogFrame
from inference.prediction_log.queries.newest_rows import newest_rows
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths

pytestmark = pytest.mark.django_db

CHUNK = 40
A_WEEK = timedelta(days=7)
OF_TWO_CHUNKS = 250
"""Opening a chunk costs as much as 100 rows."""


@pytest.fixture
def model() -> Model:
    return make_model(Project.objects.create(slug="p", name="P"))


def log_in_chunks(model: Model, rows: list[SentPrediction]) -> None:
    for begin in range(0, len(rows), CHUNK):
        log(model, rows[begin : begin + CHUNK])


def time_of(row: SentPrediction) -> datetime:
    return parse_timestamp(row.timestamp)


def read(model: Model, max_rows: int) -> tuple[Period, LogFrame]:
    newest = newest_rows(model=model, roles=ANSWERING_ROLES, length=A_WEEK, max_rows=max_rows)
    assert newest is not None
    return newest


def test_all_of_the_week_are_read_where_they_are_few(model: Model) -> None:
    rows = rows_of_a_day(DAY, 200)
    log_in_chunks(model, rows)
    label(model, truths(rows)[:50])

    period, frame = read(model, 100_000)

    assert period == Period(DAY + timedelta(days=1) - A_WEEK, DAY + timedelta(days=1))
    assert (len(frame), frame.is_labelled.sum()) == (200, 50)


def test_of_many_only_the_newest_chunks_are_read(model: Model) -> None:
    rows = rows_of_a_day(DAY, 200)
    log_in_chunks(model, rows)

    period, frame = read(model, OF_TWO_CHUNKS)

    assert sorted(frame.ids) == sorted(row.id for row in rows[-2 * CHUNK :])
    assert time_of(rows[-2 * CHUNK - 1]) < period.start <= time_of(rows[-2 * CHUNK])


def test_none_of_the_period_is_missing_where_rows_came_in_no_order(model: Model) -> None:
    rows = rows_of_a_day(DAY, 200)
    log_in_chunks(model, [rows[place] for place in np.random.default_rng(3).permutation(len(rows))])

    period, frame = read(model, OF_TWO_CHUNKS)

    expected = [row.id for row in rows if time_of(row) >= period.start]
    assert sorted(frame.ids) == sorted(expected)
    assert 0 < len(frame) <= 2 * CHUNK


def test_no_more_are_read_where_all_are_of_one_moment(model: Model) -> None:
    log_in_chunks(model, [replace(row, timestamp=rfc3339(DAY)) for row in rows_of_a_day(DAY, 200)])

    period, frame = read(model, OF_TWO_CHUNKS)

    assert len(frame) == 2 * CHUNK
    assert set(frame.times_us) == {to_us(DAY)}
    assert period.start == DAY


def test_there_are_none_before_anything_was_logged(model: Model) -> None:
    assert newest_rows(model=model, roles=ANSWERING_ROLES, length=A_WEEK, max_rows=1_000) is None
