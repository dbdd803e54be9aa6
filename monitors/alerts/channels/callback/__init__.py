"""Callbacks of jobs: webhooks that a request for inference names, and that no incident is told to."""

from monitors.alerts.channels.webhook import WebhookChannel


class CallbackChannel(WebhookChannel):
    """A webhook in its rules for targets, its signature and its retries."""
