"""What the store of rows asks of a later stage; the sinks provide it."""

from driftline.base.hooks import Hook


def _nothing_is(model_id: int, kind: str) -> bool:
    return False


is_sent_by_sink = Hook(_nothing_is)
"""Returns whether a sink sends what is stored of a model of this kind: `predictions` or `labels`."""
