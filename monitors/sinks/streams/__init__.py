"""The streams of a sink: what each reads of predictions, labels, points or events, and from where it goes on.

Input: rows that were stored. Output: messages in their order, each at least once.

Start with `stream.py`; `readers.py` has the reader of each stream, and how it stands.
"""
