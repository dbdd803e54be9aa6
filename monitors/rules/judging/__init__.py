"""Judging rules: the windows that a rule looks at, what its condition says of each, and the state that follows.

Input: points. Output: states and transitions.

Start with `windows.py`, then `conditions.py`.
"""
