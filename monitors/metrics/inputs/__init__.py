"""Metrics of inputs: drift from the reference, and values that are broken, missing or impossible.

Input: summaries of features. Output: points with limit and status.

Start with `drift.py`, then `quality.py`.
"""
