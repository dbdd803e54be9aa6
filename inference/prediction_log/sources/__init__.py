"""Streams and stores outside Driftline from which predictions or labels are read, each message exactly once.

A source says where to read and what of a message becomes what of a row (`mapping.py`, `reading/envelopes.py`). A
consumer (`reading/consuming.py`, run by `manage.py consume`) asks an adapter (`reading/messages.py`) for messages;
`reading/storing.py` logs them by the functions of the logging API and moves the positions of their partitions in the
same transaction, so that a kill loses and doubles nothing, and a consumer that lost its partitions is fenced.

Output: rows and labels in the log, and dead letters, which people retry or discard.

Start with `models.py`, then `reading/consuming.py` and `reading/storing.py`.
"""
