"""Keeps serving processes alive: starts them again when they die, and ends them when they hang.

Input: the commands of the processes and their heartbeats.
Output: new processes, and an end for one that stands still or takes too much memory, after it has answered those who
wait.

Start with `children.py`; `process_watch.py` is the watch within a process, and
`last_answers.py` what it sends before it ends one.
"""
