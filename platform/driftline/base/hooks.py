"""Hooks: functions that a later stage provides to an earlier one, which may not import it.

Each stage lists its hooks in its module `hooks.py`, beside its signals. `inference/prediction_log/receivers.py`,
`monitors/receivers.py` and `driftline/apps.py` provide all of them when Django starts.
"""

from collections.abc import Callable


class Hook[**Parameters, Result]:
    """A function that another stage provides; until then a call goes to `default`."""

    def __init__(self, default: Callable[Parameters, Result]) -> None:
        self._default = default
        self._provided: Callable[Parameters, Result] | None = None

    @property
    def is_provided(self) -> bool:
        return self._provided is not None

    def provide(self, function: Callable[Parameters, Result]) -> None:
        """Use `function` from now on."""
        self._provided = function

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return (self._provided or self._default)(*args, **kwargs)
