"""How rows lie in PostgreSQL: narrow rows that find an id, and chunks of columns.

Input: columns of new rows.
Output: stored rows, found again by id, by day or by version. Narrow rows lie in partitions by the week of arrival,
chunks by the day of the event. Fresh chunks are packed into large ones (`compaction.py`), which carry sorted hashes
of their ids, so that an id is found after its narrow row expired.

Start with `narrow_rows.py` and `chunk_rows.py`, then `compaction.py`.
"""
