"""Variants of a model: the same graph optimised, quantised, in half numbers, pruned or with fewer trees.

A file a kind. A builder takes a parsed model and sample rows and gives another model, or raises `DoesNotApply` with
the reason. Nothing here reads or writes a file, so that all of it runs behind the intake's walls; whether a variant
gains anything is measured (`measuring.py`), never assumed.
"""
