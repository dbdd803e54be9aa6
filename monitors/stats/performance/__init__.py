"""How good a model's predictions were, and how fast they came: metrics with 95% intervals.

Input: outcome summaries, which `mergeable` makes of predictions that met their labels.
Output: estimates with an interval, which shorter windows give where rows of a window resemble each other
(`blocks.py`).

Start with `metrics.py`.
"""
