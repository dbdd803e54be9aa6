"""A project's configuration as one document of YAML: written, compared with what there is, and applied.

Input: YAML that names models with their settings, monitors, expectations, segments, rules and workflow, channels
without their secrets, and silences. Output: the same document of what there is, the changes that lead from one to the
other, and these changes made in one transaction.

What the document does not mention stays. Of a list that it has, such as the rules of a model, it has all: what is not
in it is deleted. Models are never deleted.

Start with `document.py`, then `planning.py`, which compares it with what `exporting.py` reads.
"""
