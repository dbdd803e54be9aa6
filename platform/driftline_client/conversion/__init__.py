"""From a fitted model of somebody's framework to ONNX, and the check that both answer alike.

Imported only when a model is pushed: numpy and the converters are the application's own, not the client's.
"""
