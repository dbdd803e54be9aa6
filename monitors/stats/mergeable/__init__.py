"""Mergeable summaries of values, predictions and outcomes: the parts add up to the whole.

Input: arrays of one window.
Output: small objects that are stored as bytes, added and subtracted, and that are enough for every statistic of drift
and performance.

Start with `sketches.py` for one column, then `window_summary.py` for a whole window.
"""
