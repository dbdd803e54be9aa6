"""Turns summaries and a reference into metric points: a value with its rows, interval, threshold and status.

Input: stale windows, by the task `MEASURE`, and hours that ended. `services.py` takes a window with its summary and
its reference, and `measuring.py` asks every measure of the registry `measures.py` for its points.
Output: rows of `MetricPoint`, which pages, API and rules read, and the task `JUDGE`. What needs rows and not only
summaries is measured once a day has ended (`rows`).

Start with `catalogue.py`, which lists every metric, and `measures.py`, then `services.py`.
"""
