"""Empties the database after a test that commits, and drops it after the last one.

Django truncates every table and writes all content types and permissions anew: fifty times the work of deleting
the few rows that a test leaves, and no test changes those two.
"""

from django.db import connection, transaction
from django.db.backends.base.creation import BaseDatabaseCreation

_AUDIT = '"accounts_auditentry"'  # whose triggers refuse what a test may do
KEPT = {"django_content_type", "auth_permission"}


def delete_all_rows() -> None:
    """Delete what the tables hold, once whoever is still writing has ended."""
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    tables = [connection.ops.quote_name(name) for name in sorted(set(names) - KEPT)]
    filled = " UNION ALL ".join(f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})" for table in tables)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE")
        cursor.execute(filled)
        # In any order: the keys between them are checked when the transaction ends.
        for (table,) in cursor.fetchall():
            if table == _AUDIT:
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            cursor.execute(f"DELETE FROM {table}")
            if table == _AUDIT:
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def drop_database(creation: BaseDatabaseCreation, name: str, verbosity: int) -> None:
    """Drop a test database, also while the server of a browser's last request still reads it."""
    with creation._nodb_cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute(f"DROP DATABASE {creation.connection.ops.quote_name(name)} WITH (FORCE)")
