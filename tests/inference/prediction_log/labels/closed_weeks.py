"""Weeks of which the narrow rows are dropped."""

from django.db import connection

from inference.prediction_log.tasks import expire
from tests.inference.prediction_log.storage.aging import grow_old, pack_all


def let_narrow_rows_go() -> None:
    grow_old()
    pack_all()
    connection.check_constraints()  # as a commit does
    expire()
