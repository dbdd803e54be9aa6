"""Incidents: transitions become alerts, alerts that are one problem become one incident, and incidents end.

Input: transitions of rules, and what people do.
Output: rows of alerts and incidents with their timelines; `sending/` notifies of them.

Start with `handling.py`, then `grouping.py`.
"""
