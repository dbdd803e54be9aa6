"""Measures the permutation importance of a version's features, in a child process with the intake's walls.

Input: the file of a version and labelled rows of its reference.
Output: how much the loss grows when a feature is shuffled, a number for each feature.

The model is a stranger's, and what a run costs may depend on its input, so the worker itself, which can reach the
database and the keys, never runs it.

Start with `launcher.py`.
"""

from monitors.definitions.importance.launcher import NoImportance, measure_importance

__all__ = ["NoImportance", "measure_importance"]
