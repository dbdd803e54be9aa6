"""Turns off what libraries report about us to their makers.

Every package of ours imports this before anything else, so it is done before any such library is loaded, in each
process and in those that it starts. ONNX Runtime reads its variable once, when its library is loaded: without it a
database in the user's cache folder and a thread that sends what is in it exist from the import on, and its API stops
neither.
"""

import os

SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime
    "DO_NOT_TRACK": "1",  # Evidently, and whoever else honours it
    "EVIDENTLY_DISABLE_TELEMETRY": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",  # iterative-telemetry, through which Evidently sends
}

os.environ.update(SWITCHES)
