"""The pages of repair: a model's workflow, its runs, comparisons with a challenger, and rollouts.

Start with `runs.py`.
"""
