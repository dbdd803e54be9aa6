"""A home that the release before wrote keeps its numbers, and is summarised on from there."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.summaries.checking import compare_with_rows
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths, work
from tests.worlds.migrating import leaves, migrate
from tests.worlds.summaries import broken_invariants, summaries_of

BEFORE = [("inference", "0019_attempts_of_imports_and_erasures"), ("monitors", "0023_attempts_of_long_work")]


@pytest.mark.e2e  # it applies migrations back and again
@pytest.mark.django_db(transaction=True)
def test_rows_that_were_counted_and_rows_that_waited_are_counted_once(model: Model) -> None:
    """Some wait in a touched hour, some have a label that waits, and one model keeps no rows."""
    rows, late = rows_of_a_day(DAY, 48), rows_of_a_day(DAY + timedelta(hours=1), 24, seed=7)
    none = make_model(model.project, "keeps-none")
    update_model(model=none, actor="test", rows_kept="none")
    for each in (model, none):
        log(each, rows)
        work(each)
        log(each, [replace(row, id=f"late-{row.id}") for row in late])
    label(model, truths(rows))
    migrate(BEFORE)

    migrate(leaves())
    for each in (model, none):
        log(each, [replace(row, id=f"new-{row.id}") for row in late])
        work(each)

    assert (
        summaries_of(model)["day", DAY, "champion", ""]["rows"]
        == summaries_of(none)["day", DAY, "champion", ""]["rows"]
    )
    assert sum(one["rows"] for (span, *_), one in summaries_of(model).items() if span == "day") == 96
    assert summaries_of(model)["day", DAY, "champion", ""]["labelled"] == 48
    assert [difference for difference in compare_with_rows(100) if difference] == []
    assert broken_invariants() == []
