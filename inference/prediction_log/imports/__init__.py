"""Brings files of predictions or labels into the log: CSV and Parquet of any size.

Input: a file, by upload or by command. A worker reads it block by block; the rows of a block, its bad rows and the
place where the next block starts are one commit, so that a killed import continues where it was.
Output: predictions and labels in the log, and a file with the rows that were refused and why.

Start with `services.py`, then `engine.py`; `reading/layout.py` decides what each column means.
"""
