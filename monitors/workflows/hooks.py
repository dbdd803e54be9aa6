"""What others provide to the workflows."""

from collections.abc import Mapping, Sequence
from typing import Any

from driftline.base.accounts.models import Project
from driftline.base.hooks import Hook


def _no_webhooks(project: Project) -> Sequence[str]:
    return []


def _no_answer(project: Project, name: str, event: str, event_id: str, payload: Mapping[str, Any]) -> str:
    return "nothing here can ask it"


list_webhooks = Hook(_no_webhooks)
"""Lists the names of a project's webhook channels, which a rollout may ask. `driftline.apps` provides it from
`monitors.alerts`, because workflows do not know alerts.
"""
ask_webhook = Hook(_no_answer)
"""Posts a signed question to a webhook channel; returns why it does not agree, empty where it answered 2xx."""
