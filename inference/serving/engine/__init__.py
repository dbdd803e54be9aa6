"""Runs models for the requests that wait: one run for all of them.

Input: typed requests from any protocol. A request waits in the lane of its version until a run may start, the run is
one batch, and its end writes the record to the spool before the answers leave.
Output: answers, copies for shadows, and the counts. Models that take long run in threads, in which projects take
turns.

Start with `engine.py`, which takes requests in. Then `admission.py` says which there is room for, `scheduling.py` when
they run, `execution.py` where, and `completion.py` how they end.
"""
