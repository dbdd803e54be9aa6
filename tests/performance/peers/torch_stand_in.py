"""Stands where TorchServe's worker looks for PyTorch, which it only asks whether an answer is a tensor.

The real one brings gigabytes of GPU libraries that a handler of ONNX Runtime never calls.
"""


class Tensor:
    """What no answer of ours is."""
