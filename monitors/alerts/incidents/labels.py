"""The labels of an alert, and which of them a silence asks for."""

from collections.abc import Mapping

from driftline.base.errors import invalid
from monitors.metrics.catalogue import METRICS
from monitors.rules.models import Transition

MATCHED = ("metric", "feature", "segment", "severity", "rule")
"""Labels that a silence may ask for; its model is a field of its own."""
MAX_VALUE = 200


def labels_of(transition: Transition) -> dict[str, str]:
    """Return what an alert that a transition opens is of, by name."""
    rule = transition.deciding
    metric = METRICS.get(rule.metric)
    return {
        "rule": rule.name,
        "model": transition.model.name,
        "metric": rule.metric,
        "feature": transition.detail.get("feature") or rule.feature,
        "segment": rule.segment,
        "severity": transition.severity,
        "kind": metric.kind if metric else "",
    }


def has_labels(labels: Mapping[str, str], matchers: Mapping[str, str]) -> bool:
    """Return whether an alert has all labels that `matchers` ask for; none asked for, any alert has."""
    return all(labels.get(name, "") == value for name, value in matchers.items())


def check_matchers(matchers: Mapping[str, str]) -> None:
    """Refuse labels that no alert has, with a 422 `Problem` on /matchers."""
    for name, value in matchers.items():
        if name not in MATCHED:
            known = ", ".join(MATCHED)
            raise invalid("/matchers", f"{name[:40]!r} is no label of alerts; use {known}.", "unknown_label")
        if not 0 < len(value) <= MAX_VALUE or not value.isprintable():
            raise invalid(
                "/matchers", f"Say which {name} in 1 to {MAX_VALUE} printable characters.", "invalid_text"
            )


def parse_matchers(text: str) -> dict[str, str]:
    """Read labels from lines such as `feature=income`; raises a 422 `Problem` on /matchers."""
    matchers: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or name in matchers:
            raise invalid(
                "/matchers", f"{line[:80]!r} is not a label; write one a line, each once: feature=income."
            )
        matchers[name] = value
    check_matchers(matchers)
    return matchers
