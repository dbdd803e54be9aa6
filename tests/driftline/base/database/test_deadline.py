"""A deadline for questions to the database ends them, and nothing else of the transaction."""

import pytest
from django.db import IntegrityError, connection, transaction

from driftline.base.accounts.models import Project
from driftline.base.database.deadline import give_up_after

pytestmark = pytest.mark.django_db


def ask(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return str(cursor.fetchone()[0])


def make_project_slowly() -> None:
    with give_up_after(0.2):
        Project.objects.create(slug="undone", name="Undone")
        ask("SELECT pg_sleep(30)")


def sleep_often() -> None:
    with give_up_after(0.3):
        for _ in range(100):
            ask("SELECT pg_sleep(0.05)")


@pytest.mark.slow
def test_ends_a_statement_that_takes_too_long_and_the_transaction_goes_on() -> None:
    with transaction.atomic():
        Project.objects.create(slug="kept", name="Kept")

        with pytest.raises(TimeoutError, match=r"more than 0\.2 s"):
            make_project_slowly()

    assert list(Project.objects.values_list("slug", flat=True)) == ["kept"]


@pytest.mark.slow
def test_counts_all_statements_together() -> None:
    with pytest.raises(TimeoutError):
        sleep_often()


def test_leaves_the_time_of_later_statements_as_it_was() -> None:
    with transaction.atomic():
        before = ask("SHOW statement_timeout")
        with give_up_after(0.5):
            Project.objects.create(slug="kept", name="Kept")

        assert ask("SHOW statement_timeout") == before
        assert Project.objects.exists()


def test_raises_other_errors_as_they_are() -> None:
    Project.objects.create(slug="one", name="One")

    with pytest.raises(IntegrityError), give_up_after(5):
        Project.objects.create(slug="one", name="Two")
