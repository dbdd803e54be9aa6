"""Which groups of rows do worse, or are more frequent, than before.

Input: rows of two periods, cut into cells column by column (`conditions.py`).
Output: the segments that a search found, with the false discovery rate held over all that it tried.

Start with `search.py`; `growth.py` is the same for frequency, from the day on that `onset.py` finds.
"""
