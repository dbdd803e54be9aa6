"""Predictions on disk before their answer leaves, until the drain has stored them.

Input: records of a serving process: a batch of one version, or how requests ended.
Output: the same records, in their order, also after a crash; a record that was written in part is ignored. No Django
here, because the hot path imports it.

Start with `record.py`, then `segments.py`; `privacy.py` decides which values are kept at all.
"""
