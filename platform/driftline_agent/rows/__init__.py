"""Rows of a device: stored before an answer leaves, added up, and sent once the server can be reached.

Start with `row_store.py`, then `sender.py`.
"""
