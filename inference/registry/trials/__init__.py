"""A variant on trial: built, asked and timed in a child process behind the intake's walls.

What a version's file holds is a stranger's, and so is what is built from it: the caller gets bytes, numbers and texts.
"""

from inference.registry.trials.launcher import try_variant
from inference.registry.trials.orders import NotBuilt, Questions, Trial, Unfit

__all__ = ["NotBuilt", "Questions", "Trial", "Unfit", "try_variant"]
