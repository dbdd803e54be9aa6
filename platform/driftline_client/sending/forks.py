"""What must begin anew in a child process: threads and connections stay with the parent."""

import os
import weakref
from collections.abc import Callable


def call_after_fork(method: Callable[[], None]) -> None:
    """Call a bound method in every child process that is forked while its object lives."""
    reference = weakref.WeakMethod(method)

    def begin() -> None:
        alive = reference()
        if alive is not None:
            alive()

    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=begin)
