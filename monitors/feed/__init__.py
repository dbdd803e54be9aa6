"""What happened in a project, as rows in one order: incidents, runs, deployments, versions, references, channels.

Input: `record_event`, called in the transaction of what happens.
Output: the signal `event_recorded`, of which `alerts` makes messages, and the feed `GET /api/v1/events`, which programs
follow with a cursor.

Start with `services.py`, which says why the feed skips nothing.
"""
