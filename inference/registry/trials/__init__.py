"""Tries a variant of a model: builds it, runs it and measures its time, in a child process with the intake's walls.

Input: the file of a version, the kind of variant and rows to ask.
Output: the bytes of the variant with its answers and latencies, or the reason why it cannot be built.

The file is a stranger's, and so is what is built from it: the caller gets bytes, numbers and texts only.

Start with `launcher.py`.
"""

from inference.registry.trials.launcher import ask_original, try_variant
from inference.registry.trials.orders import NotBuilt, Questions, Trial, Unfit

__all__ = ["NotBuilt", "Questions", "Trial", "Unfit", "ask_original", "try_variant"]
