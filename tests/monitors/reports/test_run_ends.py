"""How runs ended, in a sentence."""

import pytest

from driftline.base.accounts.models import AuditEntry
from monitors.reports.run_ends import RunEnd
from monitors.workflows.models import Run


@pytest.mark.parametrize("reason", ["The labels are of one branch", "The labels are of one branch."])
def test_a_run_ends_with_one_full_stop(reason: str) -> None:
    entry = AuditEntry(actor="ada@bank.example", after={"reason": reason})

    end = str(RunEnd(Run(pk=5, state="rejected"), entry))

    assert end == "Run 5 was rejected by ada@bank.example: The labels are of one branch."
