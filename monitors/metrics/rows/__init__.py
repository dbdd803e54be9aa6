"""What needs the rows of the log and not only summaries: features together, errors by features, searches for segments.

Input: days that have ended, and searches that people ask for. Both are long work, which a worker does under a lease.
Output: metric points and the segments that a search found.

Start with `ended_days.py`, then `segment_search.py`.
"""
