"""What each serving process tells of itself, in a file that it writes every second.

Input: the counts, versions and queues of the process.
Output: `DRIFTLINE_HOME/serving/<pid>.json`, which metrics, pages and the statistics of the protocol read; the counts
of a process that ended are kept.

Start with `status.py`.
"""
