"""Builds a variant by its kind, and gives it the frame that callers know."""

import onnx

from inference.runtime.variants.base import Builder, Sample
from inference.runtime.variants.fewer_trees import keep_trees
from inference.runtime.variants.fp16 import convert_to_fp16
from inference.runtime.variants.graph import finish
from inference.runtime.variants.int8_dynamic import quantise_dynamically
from inference.runtime.variants.int8_static import quantise_statically
from inference.runtime.variants.optimised import optimise
from inference.runtime.variants.pruned import prune

BUILDERS: dict[str, Builder] = {
    "optimised": optimise,
    "int8_dynamic": quantise_dynamically,
    "int8_static": quantise_statically,
    "fp16": convert_to_fp16,
    "pruned_50": prune(0.5),
    "pruned_80": prune(0.8),
    "trees_75": keep_trees(0.75),
    "trees_50": keep_trees(0.5),
    "trees_25": keep_trees(0.25),
}


def build_variant(kind: str, content: bytes, sample: Sample) -> bytes:
    """Build the variant `kind` of the ONNX model in `content`; raises DoesNotApply.

    Inputs and outputs keep their names, types and shapes, so that callers notice nothing.
    """
    original = onnx.ModelProto.FromString(content)
    made = BUILDERS[kind](onnx.ModelProto.FromString(content), sample)
    content_made: bytes = finish(made, original).SerializeToString()
    return content_made
