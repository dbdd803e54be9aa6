"""Notifies people of what is wrong: alerts, incidents, silences, channels, and the outbox of deliveries.

Input: transitions of rules, by the task `ALERT`, events of the feed, and people who acknowledge or resolve. A
transition opens, updates or resolves an alert; alerts that share a cause are one incident. The routing tree of the
project says which channels hear of it and when (`routing`, `sending/recipients.py`); what waits is a timer, which the
task `NOTIFY` looks at (`sending/channel_timers.py`). Deliveries, also those of an event, are written in the same
transaction; the task `DELIVER` sends them, with a lease and a stable id, until they arrive or a day has passed.
Output: e-mails, webhooks, messages to chats and pagers, and callbacks of jobs.

Start with `incidents/handling.py`, or `sending/announcing.py` for events, then `sending/outbox.py`; `channels`
has the kinds of channel, and `silences.py` what mutes them. `incidents/acting.py` is what people do about an
incident, and `sending/links.py` how messages let them.
"""
