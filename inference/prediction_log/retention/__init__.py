"""Drops rows that a model does not keep any longer; their summaries stay.

Input: the retention of a model and the clock (`expiry.py`), or a change of what the model keeps (`drop_rows.py`).
Output: disk space: whole partitions of days are dropped where no other model needs them, else single rows.

Start with `expiry.py`.
"""
