"""Keeps mergeable summaries of the log: one for each window, segment, version and role.

Input: new rows and changed labels of the log, by the task `SUMMARISE`; each of them is applied once, by addition or
subtraction.
Output: summaries of hours and days, later rolled up to days and months, and stale windows with the task `MEASURE`.

Start with `services.py`, then `changes.py`; `stored.py` reads summaries of any period.
"""
