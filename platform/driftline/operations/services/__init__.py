"""The embedded services (PostgreSQL, Valkey) and the supervisor of a whole installation.

Input: the settings and the home folder.
Output: running processes, started in order, restarted when they die, and stopped in order. The supervisor itself runs
without Django.

Start with `supervisor.py`; `children.py` lists the processes that it runs.
"""
