"""Databases beside the one that tests share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def database_of_its_own(name: str, template: str = "template0") -> Iterator[str]:
    """Connect Django to a new database, a copy of `template`, and drop it afterwards; yields its whole name."""
    settings = connection.settings_dict
    own = settings["NAME"]
    whole = f"{name}_{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
    with connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE IF EXISTS "{whole}"')
        cursor.execute(f'CREATE DATABASE "{whole}" TEMPLATE "{template}"')
    connection.close()
    settings["NAME"] = whole
    try:
        yield whole
    finally:
        connection.close()
        settings["NAME"] = own
        with connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE "{whole}" WITH (FORCE)')
