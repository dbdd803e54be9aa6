"""Upgrades: bring the database of an installation, which may run on the old code, up to today's code.

Input: a home and its database, and a folder for a backup.
Output: a migrated database, and a report of what changed. `manage.py upgrade` runs it; `manage.py up` migrates at its
start without it.

Start with `upgrading.py`; `pending.py` reads what is to be applied, and `applying.py` applies it.
"""
