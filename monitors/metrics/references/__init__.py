"""What a window is compared with, as a worker holds it in memory.

Input: a reference of `monitors.definitions` and the window that is measured.
Output: prepared bins and cells, and the limits that the statistics have at the number of rows in the window.

A reference is a file that was uploaded, or a part of the log before the window (`from_log.py`).

Start with `loaded.py`; `seasons.py` narrows a reference of a year to the days that a window is compared with, and
`nulls.py` draws what the statistics do when nothing drifts.
"""
