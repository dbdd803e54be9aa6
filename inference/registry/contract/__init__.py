"""What callers of a version rely on: its inputs, outputs, classes, texts for missing values and positive class.

Input: the signatures of a champion and a challenger, or the class that somebody names.
Output: the first difference, in words; or a changed signature, with its audit row and signals.

Start with `differences.py`.
"""
