"""Labels: the true outcomes of predictions, in whatever order they come.

Input: labels with the id of a prediction or of a client, late and corrected ones too. A label that comes first waits
for its prediction.
Output: labels joined to rows of the log, and each change of a label for the summaries (`changes.py`). When the narrow
row of a prediction expires, its label is folded into the chunk (`folding.py`).

Start with `services.py`; `selectors.py` reads labels wherever they lie.
"""
