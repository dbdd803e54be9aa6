"""The pages of data: the log and its files, references, and where rows come from and go to.

Start with `predictions.py`.
"""
