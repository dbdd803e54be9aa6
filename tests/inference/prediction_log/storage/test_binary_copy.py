"""Rows are copied as they are; where the database went away that fails as every other statement does."""

import pytest
from django.db import OperationalError, connection
from django.db.models import TextField, Value

from driftline.base.accounts.models import Project
from inference.prediction_log.storage import binary_copy


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_was_cut_is_the_error_that_callers_wait_out() -> None:
    columns = ("model_id", "week")
    with connection.cursor() as cursor:
        cut_connection()

        with pytest.raises(OperationalError):
            binary_copy.copy_rows(cursor.cursor, "inference_predictionrow", columns, [])

    connection.close()


@pytest.mark.django_db
def test_rows_are_read_as_they_were_written() -> None:
    project = Project.objects.create(slug="p", name="Käse")
    Project.objects.create(slug="q", name="")

    rows = binary_copy.read_rows(
        Project.objects.order_by("pk").values_list("pk", "name", Value(None, TextField()))
    )

    assert [[None if field is None else bytes(field) for field in row[1:]] for row in rows] == [
        ["Käse".encode(), None],
        [b"", None],
    ]
    assert rows[0][0] is not None
    assert binary_copy.read_bigint(rows[0][0]) == project.pk
    assert binary_copy.read_rows(Project.objects.filter(slug="none").values_list("pk")) == []


def cut_connection() -> None:
    """End the server's side of this connection from another one, as a restart of the database does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 30000)", [pid])
        assert cursor.fetchone() == (True,)
    other.close()
