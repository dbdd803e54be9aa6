"""What a serving process counts, and how others read it.

Input: the ends of requests and their phases.
Output: a dictionary for the status file (`metrics.py`), the counts that go to the spool, each once
(`request_tally.py`), and those of the last minute (`rolling_counts.py`).

Start with `metrics.py`.
"""
