"""What is drawn of a reference once is read by every other process."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from inference.registry.models import Model
from monitors.metrics.catalogue import METRICS
from monitors.metrics.references import nulls
from monitors.metrics.selectors import drift_rows
from monitors.metrics.store.models import NullDraws
from monitors.metrics.tasks import expire
from monitors.stats.drift.distances import KERNELS
from tests.worlds.approvals import DAY, give_reference, log, rows_of_a_day, work

pytestmark = pytest.mark.slow

A_DAY = timedelta(days=1)
COLUMNS = {"income", "region", "prediction", "score"}


@pytest.fixture(autouse=True)
def _new_process() -> None:
    nulls._memory.clear()


@pytest.fixture
def measured(model: Model) -> Model:
    """A model whose day has been measured once."""
    give_reference(model)
    log(model, rows_of_a_day(DAY, 300, shift=0.3))
    work(model)
    return model


def drift(model: Model) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = drift_rows(model=model, start=DAY, end=DAY + A_DAY)["items"]
    return rows


def grow_older(by: timedelta) -> None:
    NullDraws.objects.update(made_at=F("made_at") - by)


class TestDrawing:
    def test_is_done_once_a_column_and_size(self, measured: Model) -> None:
        assert set(NullDraws.objects.filter(size=262).values_list("column", flat=True)) == COLUMNS
        assert not NullDraws.objects.exclude(column__in=COLUMNS).exists()

    def test_gives_what_every_other_process_reads(self, measured: Model) -> None:
        here = drift(measured)
        nulls._memory.clear()
        elsewhere = drift(measured)
        NullDraws.objects.all().delete()
        nulls._memory.clear()
        drawn_again = drift(measured)

        assert here == elsewhere == drawn_again

    def test_is_done_anew_for_a_statistic_that_was_added(
        self, measured: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(KERNELS, "moved", replace(KERNELS["tv"], name="moved"))
        monkeypatch.setitem(METRICS, "moved", replace(METRICS["tv"], name="moved"))
        nulls._memory.clear()

        [income] = [row["statistics"] for row in drift(measured) if row["feature"] == "income"]

        assert income["moved"]["threshold"] == income["tv"]["threshold"]

    def test_is_replaced_by_one_statement_for_all_columns(self, measured: Model) -> None:
        nulls._memory.clear()

        with CaptureQueriesContext(
            connection,
        ) as queries:
            drift(measured)

        told = [query["sql"] for query in queries if "monitors_nulldraws" in query["sql"]]
        assert [statement.split()[0] for statement in told] == ["SELECT"]

    @pytest.mark.django_db(transaction=True)
    def test_does_not_wait_for_a_process_that_stores_its_own(self, model: Model) -> None:
        reference = give_reference(model)
        log(model, rows_of_a_day(DAY, 300))
        with connection.copy().cursor() as other_process:
            other_process.execute("SELECT pg_advisory_lock(7316, %s)", [reference.pk])

            work(model)

            other_process.connection.close()
        assert {row["feature"] for row in drift(model)} == COLUMNS
        assert not NullDraws.objects.exists()


class TestDraws:
    def test_of_what_the_reference_was_go_a_day_after_it_has_changed(self, measured: Model) -> None:
        NullDraws.objects.update(digest="of before")
        nulls._memory.clear()
        drift(measured)
        assert NullDraws.objects.filter(digest="of before").exists()
        grow_older(2 * A_DAY)

        log(measured, rows_of_a_day(DAY + A_DAY, 900))
        work(measured)

        assert not NullDraws.objects.filter(digest="of before").exists()
        assert set(NullDraws.objects.values_list("size", flat=True)) == {262, 826}

    def test_of_long_ago_go(self, measured: Model) -> None:
        grow_older(20 * A_DAY)
        expire()
        assert NullDraws.objects.exists()

        grow_older(11 * A_DAY)
        expire()

        assert not NullDraws.objects.exists()
