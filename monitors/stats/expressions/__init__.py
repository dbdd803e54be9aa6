"""The language of custom metrics: `aggregate(expression) [where condition]`, such as `mean(amount * 2) where age > 30`.

In: a text and the columns that a model has. Out: the sums of each metric over some rows, which merge, and from these
its value with an interval. Nothing of a text is ever executed: it is parsed into a tree of known functions.

Start with `tree.py`, which says what there is; `parsing.py` reads a text, `checking.py` refuses what does not fit the
columns, `evaluation.py` computes it for each row, and `estimates.py` turns sums into a value.
"""
