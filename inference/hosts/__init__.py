"""Serving hosts: other machines that answer inference, without a folder in common with this one.

A host pulls the plan, the keys of the log and the model files over HTTPS with a token of its own (`host_api.py`
answers, `following.py` asks), serves them by the same processes as everywhere, and drains its spool into the database.
Each second it says how its processes do (`statuses.py`), so that a promotion waits for it as for any other process.

Output: on the host a home like any other; here a row and a status file for each host.

Start with `models.py`, then `published_plan.py` and `following.py`.
"""
