"""Metrics of answers: what labels say of them, what is expected before labels come, and how groups fare.

Input: summaries of predictions and labels. Output: points with interval, limit and status.

Start with `performance.py`.
"""
