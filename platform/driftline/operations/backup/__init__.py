"""Backups of an installation: its database, its files and its keys at one moment, and how they are restored.

Input: a home and its database, which may be in use, and a folder for the backup.
Output: a folder with `database.dump` (pg_dump's custom format), `files.tar`, `keys.tar` and `manifest.json`, which is
written last: a folder without it is no backup. `manage.py backup` makes one, and `manage.py restore` puts it back.

Start with `making.py`, then `restoring.py`.
"""
