"""Payloads of made-up events, which have each field that real ones have: templates are checked and shown with them.

What is empty in a sample differs between events, so anything may be below it.
"""

from typing import Any

_ENVELOPE = {
    "schema_version": 1,
    "event_id": "evt_0198f2c4e1b7",
    "sent_at": "2026-11-28T14:05:00Z",
    "project": {"slug": "airport"},
}
INCIDENT: dict[str, Any] = {
    **_ENVELOPE,
    "event": "incident.opened",
    "model": {"name": "flight-delay", "version": "3", "stage": "champion"},
    "incident": {
        "id": 17,
        "url": "https://driftline.example.com/p/airport/incidents/17",
        "status": "open",
        "severity": "critical",
        "title": "Log loss of flight-delay is above 0.55",
        "opened_at": "2026-11-28T14:00:00Z",
        "since": "2026-11-28T13:00:00Z",
        "detected": "2026-11-28T14:00:00Z",
        "updated_at": "2026-11-28T14:05:00Z",
        "resolved_at": None,
        "acknowledged_by": None,
        "assignee": None,
        "judgement": None,
        "closed_at": None,
        "closed_by": None,
        "close_reason": None,
    },
    "alert": {
        "rule_id": 4,
        "rule_name": "Log loss",
        "metric": "log_loss",
        "feature": None,
        "segment": None,
        "value": 0.61,
        "threshold": 0.55,
        "operator": "above",
        "description": None,
        "owner": None,
        "runbook": "https://wiki.example.com/flight-delay",
    },
    "alerts": [
        {
            "id": 31,
            "title": "Log loss of flight-delay is above 0.55",
            "labels": {},
            "severity": "critical",
            "state": "firing",
            "since": "2026-11-28T13:00:00Z",
            "detected": "2026-11-28T14:00:00Z",
            "last_window_end": "2026-11-28T14:00:00Z",
            "resolved_at": None,
        }
    ],
    "window": {
        "start": "2026-11-28T13:00:00Z",
        "end": "2026-11-28T14:00:00Z",
        "n": 812,
        "label_coverage": 0.93,
    },
    "reference": {},
    "causes": [],
    "worst_value": 0.61,
    "ongoing": [],
    "changes": [],
    "links": {},
    "text": "[critical] Log loss of flight-delay is 0.61, above 0.55, on 812 rows.",
}
NOTICE: dict[str, Any] = {
    **_ENVELOPE,
    "event": "run.waiting_for_approval",
    "model": {"name": "flight-delay"},
    "run": {},
    "deployment": {},
    "version": {},
    "reference": {},
    "channel": {},
    "links": {"run": "https://driftline.example.com/p/airport/models/flight-delay/runs/5"},
    "text": "airport/flight-delay: run 5 waits for approval.",
}
SAMPLES = (INCIDENT, NOTICE)
