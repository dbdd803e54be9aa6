"""Tells people what is wrong: alerts, incidents, silences, channels, and the outbox of deliveries.

Input: transitions of rules, by the task `ALERT`, events of the feed, and people who acknowledge or resolve. A
transition opens, updates or resolves an alert; alerts that share a cause are one incident. The routing tree of the
project says which channels hear of it and when (`routing`, `recipients.py`); what waits is a timer, which the task
`NOTIFY` looks at (`channel_timers.py`). Deliveries, also those of an event, are written in the same transaction; the
task `DELIVER` sends them, with a lease and a stable id, until they arrive or a day has passed.
Output: e-mails, webhooks, messages to chats and pagers, and callbacks of jobs.

Start with `handling.handle_transition`, or `announcing.py` for events, then `outbox.py`; `channels` has the kinds of
channel, and `silences.py` what mutes them.
"""
