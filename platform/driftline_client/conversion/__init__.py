"""From a fitted model of somebody's framework to ONNX, and the check that both answer alike.

Imported only when a model is pushed: numpy and the converters are the application's own, not the client's.
"""

import os

# ONNX Runtime reports to its maker unless this is set before it is loaded. An application that loaded it before, or
# that set the variable, has decided for itself.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
