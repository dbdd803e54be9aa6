"""Writes each finished day of a model to a lake, a bucket or a folder of Parquet files that outlives the log.

Input: rows that the summaries count, and days that changed since they were written.
Output: `model=<name>/date=<day>/part-<model>-<number>.parquet`, each file put in its place by one step.

A row of `LakeFile` is one file, and the work of writing it. As long as the log holds the rows of its day the file is
open and is replaced when they or their labels change; when they expire it is closed, and rows that are logged into the
day after that are written to another file.

Start with `models.py`, then `days.py` (which files are to be written), `writing.py` and `parts.py` (a day that is too
large for one file); `expiry.py` makes retention wait.
"""
