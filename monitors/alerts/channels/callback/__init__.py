"""Callbacks of jobs: webhooks that a request for inference names, and that get no message about incidents.

Input: a job that ended.
Output: a webhook with the job, and with its answer where that is short and JSON.

Targets, signature and retries are those of the channel `webhook`.

Start with `payload.py`.
"""

from monitors.alerts.channels.webhook import WebhookChannel

CALLBACK = "callback"


class CallbackChannel(WebhookChannel):
    """A webhook in its rules for targets, its signature and its retries."""

    title = "Callback of jobs"
