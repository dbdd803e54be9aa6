"""The canary that a deployment is to have: a version, its weight, and what keeps requests together."""

from dataclasses import dataclass
from typing import Any

from inference.registry.models import Deployment

KEY = r"subject|client_id|tag:.{1,200}"


@dataclass(frozen=True)
class CanaryWanted:
    """A version that is to answer a share `weight` of the keys; see `inference.serving.plan.PlanCanary`."""

    version: str
    weight: float
    key: str = "subject"


def describe_canary(deployment: Deployment) -> dict[str, Any] | None:
    """Write what was chosen as the API gives it."""
    if deployment.canary is None:
        return None
    return {
        "version": deployment.canary.version,
        "weight": deployment.canary_weight,
        "key": deployment.canary_key,
    }
