"""Reads of the log, as arrays and as pages.

Input: a model, a period, filters and a limit.
Output: arrays for `monitors` (`selectors.py`), the newest rows with bounded work (`newest_rows.py`), rows that the
summaries do not count yet (`unsummarised.py`), pages of predictions with bounded work for each (`exploring.py`), and
Parquet files with the labels beside their predictions (`exports.py`).

Start with `selectors.py`.
"""
