"""The reasons of a verdict: each once, with the comparison that it belongs to, in the words of the pages."""

import numpy as np
import pytest
from django.template.loader import render_to_string

from monitors.stats.promotion.gate import GatePolicy, GateVerdict, judge
from monitors.workflows.context import to_json
from monitors.workflows.judging.verdict_text import LIVE, WORST_CASE, reasons_of_verdict, with_titles
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


def test_are_grouped_on_pages_by_what_they_are_drawn_from(verdict: GateVerdict) -> None:
    page = render_to_string("partials/decision.html", {"verdict": to_json(verdict)})

    assert f"<h4>{WORST_CASE}</h4>" in page
    live, worst_case = page.split("<h4>")
    assert live.count("<li>") == len(sentences(verdict, LIVE))
    assert worst_case.count("<li>") == len(sentences(verdict, WORST_CASE))


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
