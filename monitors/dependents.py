"""Lists what depends on a version's features and on a custom metric, and mends what a new reference of other features
leaves behind."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from inference.prediction_log.models import PackedDay, PredictionChunk
from inference.registry.models import Version
from monitors.definitions.models import CustomMetric, Expectation, FeatureProfile
from monitors.rules.models import Rule
from monitors.rules.selectors import rules_on_metric
from monitors.summaries.models import Summary
from monitors.workflows.judging.margins import has_margin

_MAX_NAMED = 3


def dependents_of(version: Version, features: Sequence[str]) -> list[str]:
    """List in words what depends on the columns of a version's reference, above all on `features`."""
    model = version.model
    found = []
    if (
        PackedDay.objects.filter(version=version).exists()
        or PredictionChunk.objects.filter(version=version, is_packed=False).exists()
    ):
        found.append("its logged predictions")
    rules = Rule.objects.filter(Q(feature__in=features) | Q(condition__isnull=False), model=model)
    named_by = [
        rule for rule in rules.order_by("name") if any(term.feature in features for term in rule.terms)
    ]
    found += [f"the rule {rule.name!r}" for rule in named_by[:_MAX_NAMED]]
    groups = model.segment_features.filter(feature__in=features).order_by("feature")
    found += [f"the segments of {one.feature!r}" for one in groups[:_MAX_NAMED]]
    named = [
        segment.name
        for segment in model.segments.order_by("name")
        if any(condition.feature in features for condition in segment.parsed)
    ]
    found += [f"the segment {name!r}" for name in named[:_MAX_NAMED]]
    metrics = [one.name for one in model.custom_metrics.order_by("name") if set(features) & one.kinds.keys()]
    found += [f"the custom metric {name!r}" for name in metrics[:_MAX_NAMED]]
    expected = Expectation.objects.filter(model=model, feature__in=features).order_by("feature")
    return found + [f"what is expected of {one.feature!r}" for one in expected[:_MAX_NAMED]]


def forget_kinds(version: Version) -> None:
    """Forget whether features are numbers, as the reference before had them, where no summary was made of them yet."""
    if not Summary.objects.filter(model=version.model).exists():
        FeatureProfile.objects.filter(model=version.model).delete()


@dataclass(frozen=True)
class MetricUsers:
    """What goes by a custom metric, which is kept while there is any: rules by name, and a margin of the gate."""

    name: str
    rules: list[Rule]
    has_margin: bool

    def __bool__(self) -> bool:
        return bool(self.rules) or self.has_margin

    @property
    def reasons(self) -> list[str]:
        """Return what keeps the metric, and what to do about it."""
        reasons = []
        if self.rules:
            watch, them = ("Rules watch", "them") if len(self.rules) > 1 else ("A rule watches", "it")
            named = ", ".join(f"{rule.name!r}" for rule in self.rules)
            reasons.append(
                f"{watch} the custom metric {self.name!r} ({named}); change or delete {them} first."
            )
        if self.has_margin:
            margin = f"The gate of promotions has a margin for the custom metric {self.name!r}"
            reasons.append(f"{margin}; empty the margin first.")
        return reasons


def users_of(custom: CustomMetric, metric: str = "") -> MetricUsers:
    """List what goes by a custom metric; `metric` is what its points were of, where that has changed."""
    rules = rules_on_metric(custom.model, metric or custom.metric, custom.name)
    return MetricUsers(custom.name, rules, has_margin(custom.model, custom.name))
