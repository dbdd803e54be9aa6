"""Tells people what is wrong: alerts, incidents, silences, channels, and the outbox of deliveries.

Input: transitions of rules, by the task `ALERT`, and people who acknowledge or resolve. A transition opens, updates
or resolves an alert; alerts that share a cause are one incident. Its deliveries are written in the same transaction;
the task `DELIVER` sends them, with a lease and a stable id, until they arrive or a day has passed.
Output: e-mails, webhooks, messages to chats and pagers, and callbacks of jobs.

Start with `handling.handle_transition`, then `outbox.py`; `channels` has the kinds of channel, and `silences.py` what
mutes them. `acting.py` is what people do about an incident, and `links.py` how messages let them.
"""
