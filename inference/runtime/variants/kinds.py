"""The kinds of variants, for whoever only speaks of them: building one loads ONNX."""

KINDS = {
    "optimised": "Optimised graph",
    "int8_dynamic": "INT8, dynamic",
    "int8_static": "INT8, static",
    "fp16": "FP16",
    "pruned_50": "Half of the weights zeroed",
    "pruned_80": "Four fifths of the weights zeroed",
    "trees_75": "First three quarters of the trees",
    "trees_50": "First half of the trees",
    "trees_25": "First quarter of the trees",
}
"""Each kind with the words that people read, in the order in which they are built."""
