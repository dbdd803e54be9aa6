"""What others provide to the workflows."""

from collections.abc import Mapping, Sequence
from typing import Any

from driftline.base.accounts.models import Project
from driftline.base.errors import invalid
from driftline.base.hooks import Hook
from monitors.workflows.context import RunContext, StepFailed, StepOutcome
from monitors.workflows.models import Workflow


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


_NO_PIPELINES = "This installation trains in no pipelines: DRIFTLINE_FEATURES leaves remote_training out."


def _no_pipeline(workflow: Workflow, remote: Mapping[str, Any], secret: object) -> dict[str, str]:
    if remote or secret:
        raise invalid("/workflow/remote", _NO_PIPELINES)
    workflow.remote_secret = b""
    return {}


def _no_training(context: RunContext) -> StepOutcome:
    raise StepFailed(_NO_PIPELINES)


set_pipeline = Hook(_no_pipeline)
"""Seals a pipeline's secret in its workflow, and returns its settings as they are stored; raises Problem.

Remote training provides it. Without a secret (None), the stored one stays for the same pipeline.
"""
train_in_pipeline = Hook(_no_training)
"""Goes on with a training elsewhere as far as that is possible now, as a step does; remote training provides it."""
