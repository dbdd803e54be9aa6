"""Why the process of a version gave no answer."""

from inference.runtime.remote.errors import UpstreamFailed


class ModelProcessFailed(UpstreamFailed):
    """The process that runs a version ended, or waits to be started again; nobody who asked it is at fault."""

    fault = ""  # its status tells it

    def __init__(self, sentence: str, retry_s: float = 1.0) -> None:
        super().__init__("process", 503, sentence, may_pass=True, retry_s=retry_s)


class ModelFailed(Exception):
    """The model fails on the values that it was given; the text is ONNX Runtime's, or ours on its behalf."""


class RunAbandoned(Exception):
    """The run was ended before the process had answered; it is still at work."""


class ProcessDied(Exception):
    """The process ended (`is_end`), or is to be ended as it does not keep to the form of messages."""

    def __init__(self, what: str, *, is_end: bool = False) -> None:
        super().__init__(what)
        self.is_end = is_end
