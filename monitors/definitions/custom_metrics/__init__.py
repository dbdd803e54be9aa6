"""Metrics that people define: how they are written, checked against a model, and computed for rows of the log.

In: an expression (`monitors.stats.expressions`) and its name. Out: rows of CustomMetric, and for the summaries what
each metric comes to row by row (`row_values.py`).

Start with `services.py`.
"""
