"""The reasons of a verdict: each once, with the comparison that it belongs to, in the words of the pages."""

import numpy as np
import pytest

from driftline.accounts.models import AuditEntry
from monitors.reports.reasons import LIVE, WORST_CASE, RunEnd, reasons_of_verdict, with_titles
from monitors.stats.promotion.gate import GatePolicy, GateVerdict, judge
from monitors.workflows.context import to_json
from monitors.workflows.models import Run
from tests.monitors.stats.promotion.traffic import compared, traffic


@pytest.fixture(scope="module")
def verdict() -> GateVerdict:
    """A verdict on a challenger that is better, unless the labels that did not come say otherwise."""
    pairs = traffic(challenger_noise=0.75)
    hidden = (pairs["champion"] > 0.7) & (np.random.default_rng(3).random(6_000) < 0.8)
    pairs["y"] = np.where(hidden, np.nan, pairs["y"])
    latency = {"champion_latency_ms": np.full(6_000, 4.0), "challenger_latency_ms": np.full(6_000, 5.0)}
    timed = compared(**pairs, **latency)
    return judge(timed, GatePolicy("roc_auc", max_labelled=4_000))


def sentences(verdict: GateVerdict, comparison: str) -> list[str]:
    return [one.sentence for one in reasons_of_verdict(to_json(verdict)) if one.comparison == comparison]


def test_of_labelled_pairs_come_before_those_of_the_worst_case(verdict: GateVerdict) -> None:
    live, worst_case = sentences(verdict, LIVE), sentences(verdict, WORST_CASE)

    assert live[0].startswith("ROC AUC")
    assert live[0].endswith("better beyond its interval.")
    assert worst_case[0].startswith("Labels are selective")
    assert worst_case[1].startswith("ROC AUC")
    assert not worst_case[1].endswith("better beyond its interval.")


def test_that_both_comparisons_share_come_once(verdict: GateVerdict) -> None:
    latency = [one for one in verdict.reasons if one.startswith("p99 latency")]

    assert len(latency) == 2
    assert sentences(verdict, LIVE)[-1] == latency[0]
    assert latency[0] not in sentences(verdict, WORST_CASE)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("roc_auc 0.8 against 0.7", "ROC AUC 0.8 against 0.7"),
        ("Segment carrier:UA: log_loss 0.8 against 0.7", "Segment carrier:UA: Log loss 0.8 against 0.7"),
        ("The metric custom:cost cannot be computed", "The metric cost cannot be computed"),
        ("p99 latency 5 ms against 4 ms", "p99 latency 5 ms against 4 ms"),
    ],
)
def test_name_metrics_as_pages_do(stored: str, read: str) -> None:
    assert with_titles(stored) == read


@pytest.mark.parametrize("reason", ["The labels are of one branch", "The labels are of one branch."])
def test_a_run_ends_with_one_full_stop(reason: str) -> None:
    entry = AuditEntry(actor="ada@bank.example", after={"reason": reason})

    end = str(RunEnd(Run(pk=5, state="rejected"), entry))

    assert end == "Run 5 was rejected by ada@bank.example: The labels are of one branch."
