"""The JSON of a callback: the job, and its answer where that is short and JSON."""

from datetime import UTC, datetime

import orjson
from django.conf import settings

from driftline.base.periods import rfc3339
from inference.serving.jobs.store import Callback
from monitors.alerts.channels.base import Message
from monitors.alerts.channels.webhook.payload import envelope
from monitors.alerts.models import Channel


def compose(callback: Callback, channel: Channel, *, event_id: str, at: datetime) -> Message:
    """Write what a channel is told about a job that has ended."""
    job, ended = callback.job, callback.ended
    payload = {
        **envelope(f"job.{ended.state}", event_id, at, channel),
        "job": {
            "id": job.id,
            "url": f"{settings.PUBLIC_URL}/v2/jobs/{job.id}",
            "state": ended.state,
            "status": ended.status,
            "model_name": job.model,
            "model_version": job.version,
            "prediction_id": job.prediction_id,
            "accepted_at": _time(job.accepted_at),
            "ended_at": _time(ended.ended_at),
            "expires_at": _time(callback.expires_at),
        },
        "answer": None if callback.answer is None else orjson.Fragment(callback.answer),
    }
    return Message(f"Job {job.id} {ended.state}", orjson.dumps(payload).decode())


def _time(moment: float) -> str:
    return rfc3339(datetime.fromtimestamp(moment, UTC))
