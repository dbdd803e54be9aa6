"""Requests that share a commit keep all that each of them sent."""

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from django.db import connection, transaction
from django.utils import timezone

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from inference.prediction_log.ingest.store import _commit_requests, _find_versions, _Request
from inference.prediction_log.labels import services as labels
from inference.prediction_log.queries.selectors import prediction
from inference.prediction_log.rows.sent_columns import columns_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from tests.inference.prediction_log.ingest.late_rows import in_thread
from tests.waiting import wait_until
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day

pytestmark = pytest.mark.django_db


@pytest.fixture
def model() -> Model:
    return make_model(Project.objects.create(slug="p", name="P"))


def request_of(model: Model, rows: list[SentPrediction]) -> _Request:
    columns = columns_of(rows, task=model.task)
    return _Request(model, columns, _find_versions(model, {"1"}), timezone.now(), is_atomic=False)


def with_income(row: SentPrediction, income: float | str) -> SentPrediction:
    return msgspec.structs.replace(row, features={**row.features, "income": income})


def income_of(model: Model, row: SentPrediction) -> object:
    found = prediction(model=model, prediction_id=row.id)
    assert found is not None
    return found["features"]["income"]


def test_a_feature_is_a_number_for_one_and_text_for_another(model: Model) -> None:
    first, number, text = rows_of_a_day(DAY, 3)
    log(model, [first])
    number, text = with_income(number, 41.5), with_income(text, "high")

    results = _commit_requests([request_of(model, [text]), request_of(model, [number])])

    assert [item.status for found in results for item in found] == ["accepted", "accepted"]
    assert (income_of(model, number), income_of(model, text)) == (41.5, "high")


def test_of_two_first_requests_with_vectors_of_other_dimensions_one_is_refused(model: Model) -> None:
    first, second = rows_of_a_day(DAY, 2)
    first.features["photo"], second.features["photo"] = [1.0] * 48, [1.0] * 64  # type: ignore[index]
    late = request_of(model, [second])  # which was checked before the first one was there
    log(model, [first])

    with pytest.raises(Problem, match="have 48 numbers since a moment ago, and these have 64"):
        _commit_requests([late])

    assert prediction(model=model, prediction_id=second.id) is None


def test_an_id_that_both_send_is_kept_once(model: Model) -> None:
    first, row = rows_of_a_day(DAY, 2)
    log(model, [first])
    number, text = with_income(row, 41.5), with_income(row, "high")

    results = _commit_requests([request_of(model, [text]), request_of(model, [number])])

    assert sorted(item.status for found in results for item in found) == ["accepted", "conflict"]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_model_that_is_locked_holds_no_other_model_up(model: Model) -> None:
    other = make_model(model.project, "other")
    first, *rows = rows_of_a_day(DAY, 4)
    for one in (model, other):
        log(one, [first])  # so that the week is open

    with ThreadPoolExecutor(4) as threads:
        with transaction.atomic():
            labels.lock(model.pk, exclusive=True)
            held_up = [threads.submit(in_thread, lambda row=row: log(model, [row])) for row in rows]
            wait_for_waiters(2)
            threads.submit(in_thread, lambda: log(other, rows)).result(30)
            assert not any(one.done() for one in held_up)
        for one in held_up:
            one.result(30)


def wait_for_waiters(count: int) -> None:
    """Return when so many connections wait for an advisory lock."""
    waiting = "SELECT count(*) >= %s FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with connection.cursor() as cursor:

        def is_so() -> bool:
            cursor.execute(waiting, [count])
            return bool(cursor.fetchone()[0])

        wait_until(is_so, what="the waiting for a lock")
