"""Rules over metric points: when an alert starts and when it ends.

Input: windows with new points, by the task `JUDGE`, and rules that people define. Each rule sees the windows in event
time, one after another: `judging/windows.py` reads them and asks `judging/condition_trees.py` whether the rule's
condition holds, and `judging/conditions.py` says how that moves the rule.
Output: transitions, which `alerts` and `workflows` read, each by a task of its own.

Start with `judging/condition_trees.py` and `judging/conditions.py`, which are pure, then
`judging/judge.py`.
"""
