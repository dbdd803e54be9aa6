"""Magnitude pruning: the smallest weights of each layer become zero (Han et al., 2015)."""

import numpy as np
import onnx

from inference.runtime.variants.base import Builder, Sample
from inference.runtime.variants.graph import check_weights, replace_tensor


def prune(share: float) -> Builder:
    """Make a builder that zeroes this share of each layer's weights, the smallest by magnitude.

    Dense kernels multiply by zeros as by anything else and the file keeps its size: it shows what a sparse runtime,
    or compression on the way to a device, could save, and what that costs.
    """

    def pruned(model: onnx.ModelProto, sample: Sample) -> onnx.ModelProto:
        for tensor in check_weights(model):
            weights = onnx.numpy_helper.to_array(tensor)
            limit = np.quantile(np.abs(weights), share)
            replace_tensor(tensor, np.where(np.abs(weights) < limit, np.float32(0), weights))
        return model

    return pruned
