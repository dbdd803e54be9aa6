"""Builds variants of a model: the same graph optimised, quantised, in half precision, pruned or with fewer trees.

Input: a parsed model and sample rows.
Output: another model, or `DoesNotApply` with the reason.

Nothing here reads or writes a file, so that all of it can run behind the intake's walls. Whether a variant gains
anything is measured (`measuring.py`), never assumed.

Start with `base.py`; each kind is a module, and `kinds.py` lists them.
"""
