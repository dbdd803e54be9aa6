"""Tells people what is wrong: incidents, silences, channels, and the outbox of deliveries.

Input: transitions of rules, by the task `ALERT`, and people who acknowledge or resolve. A transition opens, updates
or resolves an incident and writes its deliveries in the same transaction; the task `DELIVER` sends them, with a lease
and a stable id, until they arrive or a day has passed.
Output: e-mails, webhooks and callbacks of jobs.

Start with `services.handle_transition`, then `outbox.py`; `channels` has a folder for each kind of channel.
"""
