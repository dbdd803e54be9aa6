"""Whether and when a stream of numbers, or the share of a group over days, changed.

Input: the values of ripe windows in event time, or their p-values (`evidence.py`).
Output: the place of a change and how sure the detector is.

A detector fits on one page, and its state can be stored between windows.

Start with `page_hinkley.py`, then `adwin.py`.
"""
