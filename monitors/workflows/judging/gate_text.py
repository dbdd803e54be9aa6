"""What a challenger must show, in sentences."""

from monitors.metrics.catalogue import METRICS
from monitors.stats.promotion.gate import MIN_SLOWDOWN_MS, RELATIVE_MARGINS, GatePolicy
from monitors.workflows.judging.margins import CUSTOM_PREFIX
from monitors.workflows.judging.pairs import JUDGED, policy_of
from monitors.workflows.models import Workflow


def describe_gate(workflow: Workflow) -> list[str]:
    """Write what the gate of a model asks for; of a task that no gate can judge there is nothing to say."""
    model = workflow.model
    if model.task not in JUDGED:
        return []
    policy = policy_of(model, workflow, model.task)
    return [
        f"From {policy.min_labelled:,} labelled pairs on it is promoted where its {_title(policy.objective)} is better "
        "beyond doubt" + _guards(policy, JUDGED[model.task]),
        f"Each segment of {policy.min_segment_labelled:,} labelled pairs or more is judged too.",
        f"Its p99 latency may be {policy.p99_ratio:g} times the champion's, or {MIN_SLOWDOWN_MS:g} ms longer"
        + (f", or anything below {policy.p99_cap_ms:g} ms." if policy.p99_cap_ms else "."),
        "It is rejected as soon as it is worse beyond doubt, and where nothing is certain after "
        f"{policy.max_labelled:,} pairs.",
    ]


def _guards(policy: GatePolicy, judged: tuple[str, ...]) -> str:
    margins = {
        name: margin
        for name, margin in policy.margins.items()
        if name != policy.objective and (name in judged or name not in METRICS)
    }
    guards = [
        f"{_title(name)} by more than {margin:.3g}"
        + (" of the champion's" if name in RELATIVE_MARGINS else "")
        for name, margin in margins.items()
    ]
    return f", and nothing is worse: not {', nor '.join(guards)}." if guards else "."


def _title(metric: str) -> str:
    if metric not in METRICS:
        return metric.removeprefix(CUSTOM_PREFIX)
    title = METRICS[metric].title
    return title if title[1:2].isupper() or title.startswith("Brier") else title[:1].lower() + title[1:]
