"""The forms that rows of the log have in memory, between a caller and the database.

Input: items as callers send them, or records of the spool.
Output: columns, because what a batch costs is then paid once for each column and not for each row.

Start with `columns.py`; `sent_items.py` says which values cannot be kept.
"""
