"""Entries of a release before the chain: they are named, sealed and kept by the migrations."""

from pathlib import Path

import pytest
from django.db import connection

from driftline.accounts.audit_chain import check_chain
from driftline.accounts.models import AuditEntry
from tests.worlds.migrating import leaves, migrate

BEFORE = [("accounts", "0001_first")]


@pytest.mark.e2e  # it applies migrations back and again
@pytest.mark.django_db(transaction=True)
def test_entries_of_before_join_the_chain_in_their_order(tmp_path: Path) -> None:
    migrate(BEFORE)
    try:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO accounts_project (slug, name) VALUES ('bank', 'Bank') RETURNING id")
            (project,) = cursor.fetchone() or (0,)
            cursor.execute(
                "INSERT INTO accounts_auditentry (project_id, actor, action, subject, before, correlation) "
                """VALUES (%s, 'ada', 'model.update', 'm', '{"b": 1, "a": [1.50, "é"]}', ''), """
                "(NULL, 'bootstrap', 'x', 'y', NULL, '')",
                [project],
            )
    finally:
        migrate(leaves())

    entries = AuditEntry.objects.order_by("pk")
    assert list(entries.values_list("number", "project_slug")) == [(1, "bank"), (2, "")]
    report = check_chain(tmp_path)
    assert (report.entries, report.sealed, report.broken) == (2, 2, "")
