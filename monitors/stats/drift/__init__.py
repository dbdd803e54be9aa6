"""How far one column moved from its reference, and whether that is more than chance.

Input: the summary of a window's column and the prepared summary of the reference.
Output: statistics (`distances.py`), their thresholds at the window's number of rows (`thresholds.py`), and one
decision for each feature that holds the false discovery rate over all of them (`judging.py`); what changed in words
(`in_words.py`).

Start with `distances.py`, then `judging.py`.
"""
