"""Rows that many tests start from, stored once instead of before each of them."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction
from pytest_django import DjangoDbBlocker


@contextmanager
def rows_of_many_tests(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Store what a fixture of a class or module makes in a transaction around its tests, and roll it back after.

    Every test inside must use `db`, which takes the database back to here at the test's end. The fixture must ask
    for `django_db_setup`.
    """
    with django_db_blocker.unblock(), transaction.atomic():
        yield
        transaction.set_rollback(True)
