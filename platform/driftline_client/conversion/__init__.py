"""Converts a fitted model to ONNX, and checks that both give the same predictions.

Input: an estimator of scikit-learn, LightGBM, XGBoost, PyTorch or Keras and rows of its input.
Output: the ONNX file and the names of its inputs and outputs, or an error that says what differs.

It is imported only when a model is pushed, because numpy and the converters belong to the application.

Start with `parity.py`, then the module of the framework.
"""

import os

# ONNX Runtime reports to its maker unless this is set before it is loaded. An application that loaded it before, or
# that set the variable, has decided for itself.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
