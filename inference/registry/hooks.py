"""What later stages provide to the registry."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from driftline.base.hooks import Hook
from inference.serving.plan import PlanCallback, PlanToken

if TYPE_CHECKING:
    from inference.registry.models import Deployment, Model, Version
    from inference.registry.schemas import CanaryOut


def _no_callbacks() -> list[PlanCallback]:
    return []


list_callbacks = Hook(_no_callbacks)
"""Lists the callbacks of all projects; `monitors.alerts` provides it, because the registry does not know channels."""


def _no_events(model: "Model") -> datetime | None:
    return None


newest_event = Hook(_no_events)
"""Returns the newest event time that was logged for a model; None where nothing was. The prediction log provides it."""


def _no_canary(deployment: "Deployment") -> "CanaryOut | None":
    return None


describe_canary_split = Hook(_no_canary)
"""Describes the canary of a deployment and how its traffic is split; None without one. The prediction log provides it,
which has the rows that each side answered.
"""


def _no_tokens() -> list[PlanToken]:
    return []


list_device_tokens = Hook(_no_tokens)
"""Lists the tokens by which devices ask for inference; the devices provide it."""


def _no_feed(**event: object) -> object:
    return None


record_event: Hook[..., object] = Hook(_no_feed)
"""Adds an event to the feed, with the messages about it: see `monitors.feed.services`, which provides it."""


def _no_dependents(version: "Version", features: Sequence[str]) -> list[str]:
    return []


list_dependents = Hook(_no_dependents)
"""Lists in words what depends on a version's reference, above all on features; the monitors provide it."""
