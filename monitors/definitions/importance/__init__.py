"""Permutation importance of a version's features, measured in a child process behind the intake's walls.

The model is a stranger's, and what a run costs may depend on the values that it is asked: the worker, beside the
database, the broker and the key, never runs it. Start reading at `launcher.py`.
"""

from monitors.definitions.importance.launcher import NoImportance, measure_importance

__all__ = ["NoImportance", "measure_importance"]
