"""Rules over metric points: when an alert starts and when it ends.

Input: windows with new points, by the task `JUDGE`, and rules that people define. Each rule sees the windows in event
time, one after another, and `conditions.py` says how a window moves it.
Output: transitions, which `alerts` and `workflows` read, each by a task of its own.

Start with `conditions.py`, which is pure, then `services.judge`.
"""
