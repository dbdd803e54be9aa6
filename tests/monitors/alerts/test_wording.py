"""How an incident is called."""

from datetime import datetime
from typing import Any

import pytest

from inference.registry.models import Model
from monitors.alerts.wording import at_worst, fitted, title_of
from monitors.definitions.models import CustomMetric
from monitors.rules.models import Rule, Transition
from tests.monitors.alerts.conftest import Fire


def title(
    metric: str, value: float, threshold: float = 0, *, counted: list[str] | None = None, **fields: Any
) -> str:
    model = Model(name="approvals")
    rule = Rule(model=model, metric=metric, threshold=threshold, **fields)
    detail = {"point": {"counted": counted}} if counted else {}
    return title_of(
        Transition(rule=rule, model=model, value=value, threshold=threshold, n=300, detail=detail)
    )


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        (
            title("faulty_features", 2, counted=["credit_score", "purpose"]),
            "approvals: 2 features fail quality checks: credit_score, purpose",
        ),
        (title("faulty_features", 1, counted=["age"]), "approvals: age fails quality checks"),
        (
            title("drifted_features", 4, 2, counted=["a", "b", "c", "d"], segment="origin:JFK"),
            "approvals: 4 features drifted in origin:JFK (limit 2): a, b, c and 1 more",
        ),
        (
            title("volume_ratio", 0.06, 0.1, operator="below"),
            "approvals: Prediction volume 6% of normal, below 10%",
        ),
        (title("roc_auc", 0.61, 0.65, operator="below"), "approvals: ROC AUC 0.61 below 0.65"),
        (
            title("label_lag_p95", 304_075, 3_600),
            "approvals: Label lag, 95th percentile 3 d 12 h above 1 h 0 min",
        ),
        (title("latency_p99", 61.2, 50), "approvals: Latency, 99th percentile 61.2 ms above 50 ms"),
        (title("missing_share", 0.227, 0.05, feature="age"), "approvals: Missing values of age 23% above 5%"),
        (title("accuracy", 0.61, 0.65, operator="below"), "approvals: Accuracy 0.61 below 0.65"),
    ],
)
def test_an_incident_is_called_by_what_was_measured_in_the_words_of_the_field(
    called: str, expected: str
) -> None:
    assert called == expected


@pytest.mark.parametrize(
    ("called", "metric", "room", "expected"),
    [
        (
            title("faulty_features", 2, counted=["credit_score", "purpose"]),
            "faulty_features",
            50,
            "approvals: 2 features fail quality checks",
        ),
        (
            title("drifted_features", 4, 2, counted=["a", "b", "c", "d"]),
            "drifted_features",
            44,
            "approvals: 4 features drifted (limit 2)",
        ),
        (
            title("psi", 0.31, 0.2, feature="income"),
            "psi",
            40,
            "approvals: PSI of income 0.31 above 0.2",
        ),
        (
            title("drift_evidence", 9.1, 6, counted=["income", "age"]),
            "drift_evidence",
            38,
            "approvals: Slow drift 9.1 above 6",
        ),
        (
            title("roc_auc", 0.61, 0.65, operator="below", segment="purpose:home improvement (all)"),
            "roc_auc",
            50,
            "approvals: ROC AUC in purpose:home improvement...",
        ),
    ],
)
def test_a_long_title_is_shortened_in_words_and_never_inside_brackets(
    called: str, metric: str, room: int, expected: str
) -> None:
    assert fitted(called, metric, room) == expected
    assert len(expected) <= room


@pytest.mark.parametrize(
    ("metric", "worst", "expected"),
    [
        ("faulty_features", 1.0, "At worst 1 feature failed quality checks"),
        ("drifted_features", 7.0, "At worst 7 features had drifted"),
        ("volume_ratio", 0.031, "At worst it was 3% of normal"),
        ("latency_p99", 61.2, "At worst it was 61.2 ms"),
        ("label_lag_p95", 304_075.0, "At worst it was 3 d 12 h"),
        ("missing_share", 0.227, "At worst it was 23%"),
        ("log_loss", 0.72, "At worst it was 0.72"),
    ],
)
def test_the_worst_value_has_its_unit(metric: str, worst: float, expected: str) -> None:
    model = Model(name="approvals")
    limit = 3_600.0 if metric == "label_lag_p95" else 0.05
    rule = Rule(model=model, metric=metric, threshold=limit)

    assert at_worst(Transition(rule=rule, model=model, threshold=limit, n=1), worst) == expected


def test_the_unit_is_that_of_the_custom_metric_which_decided_and_not_of_the_first_comparison(
    model: Model, rule: Rule, fire: Fire, now: datetime
) -> None:
    for name, unit in (("fare", "EUR"), ("delay", "min")):
        CustomMetric.objects.create(
            model=model, name=name, expression=f"mean({name})", unit=unit, kinds={name: "number"}, since=now
        )
    first, second = (
        {"metric": "custom", "feature": name, "operator": "above", "threshold": 10.0}
        for name in ("fare", "delay")
    )
    rule.metric, rule.feature, rule.condition = "custom", "fare", {"any": [first, second]}
    rule.save()

    called = title_of(fire(value=12.5, threshold=10.0, detail={"comparison": second}))

    assert called.endswith("12.5 min above 10 min")
    assert "delay" in called.removeprefix("flight-delay")


def test_a_subject_leaves_out_the_kind_of_checks_before_it_is_cut() -> None:
    called = "doctor-visits: chronic_diseases fails quality checks"

    assert fitted(called, "faulty_features", 48) == "doctor-visits: chronic_diseases fails checks"
