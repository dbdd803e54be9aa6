"""The rules that a model gets at one press: what its objectives promise, and what is wrong with any model."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from monitors.definitions.monitors import AUTO
from monitors.metrics.catalogue import METRICS
from monitors.metrics.evidence import LIMIT as EVIDENCE_LIMIT
from monitors.metrics.traffic.volume import IMPOSSIBLE
from monitors.rules.models import Rule, Severity
from monitors.rules.services import create_rule

FAILED_SHARE = 0.05
LABELLED_SHARE = 0.5
DRIFTING_DAYS = 3
QUIET = timedelta(days=7)
LATE = timedelta(hours=1)


def default_rules(model: Model) -> list[dict[str, Any]]:
    """List the fields of the rules that a model should have; symptoms page, drift alone is worth a notice."""
    rules = (*_of_any_model(), *_of_sources(model), *_of_objectives(model.objectives))
    return [{"span": AUTO, "for_windows": 1} | fields for fields in rules]


def missing_default_rules(model: Model) -> list[dict[str, Any]]:
    """List those of `default_rules` that the model has no rule of the same name for."""
    there = set(model.rules.values_list("name", flat=True))
    return [fields for fields in default_rules(model) if fields["name"] not in there]


def add_default_rules(*, project: Project, model: Model, actor: str) -> list[Rule]:
    """Create the default rules that the model does not have yet; said again it changes nothing."""
    return [
        create_rule(project=project, model=model, actor=actor, **fields)
        for fields in missing_default_rules(model)
    ]


def _of_any_model() -> Iterator[dict[str, Any]]:
    yield {
        "name": "Data quality failure",
        "metric": "faulty_features",
        "threshold": 0,
        "severity": Severity.CRITICAL,  # so that no run learns from them
    }
    yield {
        "name": "Feature drift",
        "metric": "drifted_features",
        "threshold": 0,
        "for_windows": DRIFTING_DAYS,
        "cooldown": QUIET,
        "severity": Severity.NOTICE,
    }
    yield {
        "name": "Slow feature drift",
        "metric": "drift_evidence",
        "threshold": EVIDENCE_LIMIT,
        "recovery_threshold": EVIDENCE_LIMIT - 1,  # a tenth of it: what adds up sways by single windows
        "cooldown": QUIET,
        "severity": Severity.NOTICE,
    }
    yield {
        "name": "Traffic drop",
        "metric": "silence",
        "threshold": IMPOSSIBLE,
        "span": "hour",
        "recover_windows": 1,
        "severity": Severity.CRITICAL,
    }
    yield {
        "name": "Requests fail",
        "metric": "error_rate",
        "threshold": FAILED_SHARE,
        "span": "hour",
        "severity": Severity.CRITICAL,
    }


def _of_sources(model: Model) -> Iterator[dict[str, Any]]:
    if model.sources.exists():
        yield {
            "name": "Sources lag",
            "metric": "ingest_lag",
            "threshold": LATE.total_seconds(),
            "span": "hour",
            "recover_windows": 1,
        }


def _of_objectives(objectives: dict[str, Any]) -> Iterator[dict[str, Any]]:
    quality, lag_hours = objectives.get("quality"), objectives.get("label_lag_hours")
    latency_ms = objectives.get("latency_p99_ms")
    if latency_ms:
        yield {
            "name": "High latency",
            "metric": "latency_p99",
            "threshold": latency_ms,
            "span": "hour",
            "for_windows": 2,
        }
    if quality and quality["metric"] in METRICS:
        is_loss = METRICS[quality["metric"]].lower_is_better
        yield {
            "name": "Quality misses its objective",
            "metric": quality["metric"],
            "threshold": quality["floor"],
            "operator": Rule.Operator.ABOVE if is_loss else Rule.Operator.BELOW,
            "for_windows": 2,
            "severity": Severity.CRITICAL,
        }
    else:
        yield {
            "name": "Lasting loss of performance",
            "metric": "performance_evidence",
            "threshold": EVIDENCE_LIMIT,
            "recovery_threshold": EVIDENCE_LIMIT - 1,
            "cooldown": QUIET,
        }
    if quality or lag_hours:
        yield {
            "name": "Labels missing",
            "metric": "label_coverage",
            "threshold": LABELLED_SHARE,
            "operator": Rule.Operator.BELOW,
        }
    if lag_hours:
        yield {"name": "Labels delayed", "metric": "label_lag_p95", "threshold": 3_600 * lag_hours}
