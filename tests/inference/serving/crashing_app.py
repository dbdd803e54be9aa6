"""An application whose import makes the process of any model crash for real where it meets certain values."""

import ctypes
from typing import Any

import numpy as np

from inference.runtime.session import Array, OnnxSession
from tests.inference.serving.fatal import FATAL_FILE, FATAL_INPUT
from tests.inference.serving.small_app import app as app

_run, _load = OnnxSession.run, OnnxSession.__init__


def _run_or_crash(session: OnnxSession, inputs: dict[str, Array], *arguments: Any) -> list[Array]:
    if any((np.asarray(values) == FATAL_INPUT).any() for values in inputs.values()):
        ctypes.string_at(0)
    return _run(session, inputs, *arguments)


def _load_or_crash(session: OnnxSession, model: bytes, *arguments: Any, **options: Any) -> None:
    if FATAL_FILE in model:
        ctypes.string_at(0)
    _load(session, model, *arguments, **options)


OnnxSession.run = _run_or_crash  # type: ignore[method-assign]
OnnxSession.__init__ = _load_or_crash  # type: ignore[method-assign]
