"""The margins of the gate of promotions: losses that count as "not worse", by the name of a metric; those for custom
metrics are named `custom:<name>`."""

from collections.abc import Mapping

from driftline.base.errors import invalid
from driftline.base.strict_json import escape_pointer, printable
from inference.registry.models import Model
from monitors.stats.promotion.custom_metrics import COMPARED
from monitors.workflows.models import Workflow

CUSTOM_PREFIX = "custom:"
"""How margins for custom metrics begin, before the name of the metric."""


def custom_margins(model: Model) -> list[str]:
    """Name what a margin of the gate may be of beside the metrics of the task: those that pairs can be compared by."""
    defined = model.custom_metrics.order_by("name")
    return [CUSTOM_PREFIX + one.name for one in defined if one.parsed.function in COMPARED]


def has_margin(model: Model, name: str) -> bool:
    """Return whether the gate of promotions has a margin for a custom metric."""
    return CUSTOM_PREFIX + name in Workflow.of(model).gate.get("margins", {})


def remove_margin(model: Model, name: str) -> None:
    """Take the margin for a custom metric out of the gate of promotions, in the caller's transaction."""
    workflow = Workflow.objects.select_for_update().filter(model=model).first()
    if workflow is not None and workflow.gate.get("margins", {}).pop(CUSTOM_PREFIX + name, None) is not None:
        workflow.save(update_fields=["gate"])


def check_custom_margins(model: Model, margins: object) -> None:
    """Refuse a margin for a custom metric that is missing or that pairs cannot be compared by; of a model without any
    nothing is known yet. Raises Problem."""
    if not isinstance(margins, Mapping):
        return
    named = sorted(name for name in margins if str(name).startswith(CUSTOM_PREFIX))
    defined = {CUSTOM_PREFIX + one.name: one.parsed.function for one in model.custom_metrics.order_by("name")}
    known = [name for name, function in defined.items() if function in COMPARED]
    for name in named:
        here = f"/workflow/gate/margins/{escape_pointer(name)}"
        if name in defined and name not in known:
            raise invalid(
                here,
                f"The custom metric {name.removeprefix(CUSTOM_PREFIX)!r} cannot have a margin: pairs are compared by "
                f"{', '.join(COMPARED)}, and it is {defined[name]}.",
            )
        if known and name not in known:
            raise invalid(
                here,
                f"{printable(name)!r} is no custom metric of this model; use one of {', '.join(known)}.",
            )
