"""Screen the parsed graph before anything runs it: size, depth, external data, tensors, operators."""

import math
from collections import Counter
from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError

from inference.registry.intake.errors import IntakeRefused, shown
from inference.registry.intake.limits import IntakeLimits
from inference.registry.intake.report import GraphFacts
from inference.registry.intake.runs.value_costs import has_value_costs

OLDEST_IR = 3
OLDEST_OPSETS = {"ai.onnx": 7, "ai.onnx.ml": 1}
"""What ONNX Runtime promises to read; the newest it names itself when it refuses a model."""
_TRAINING_DOMAINS = ("ai.onnx.training", "ai.onnx.preview.training")
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_OUTPUT_KINDS = ("tensor_type", "")  # "" where the graph leaves the type to be inferred
_CLASS_LABELS = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
_BITS: dict[int, int] = {
    onnx.TensorProto.FLOAT: 32, onnx.TensorProto.DOUBLE: 64, onnx.TensorProto.FLOAT16: 16,
    onnx.TensorProto.BFLOAT16: 16, onnx.TensorProto.INT8: 8, onnx.TensorProto.INT16: 16,
    onnx.TensorProto.INT32: 32, onnx.TensorProto.INT64: 64, onnx.TensorProto.UINT8: 8,
    onnx.TensorProto.UINT16: 16, onnx.TensorProto.UINT32: 32, onnx.TensorProto.UINT64: 64,
    onnx.TensorProto.BOOL: 8,
}  # fmt: skip
_TYPED_FIELDS: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float_data", onnx.TensorProto.DOUBLE: "double_data",
    onnx.TensorProto.INT64: "int64_data", onnx.TensorProto.UINT32: "uint64_data",
    onnx.TensorProto.UINT64: "uint64_data", onnx.TensorProto.STRING: "string_data",
}  # fmt: skip


def parse_model(content: bytes) -> onnx.ModelProto:
    """Parse the protobuf; a file of another kind, or cut short, raises `IntakeRefused`."""
    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        if "depth" in str(error).lower() or "recursion" in str(error).lower():
            raise _too_large("Its subgraphs are nested too deeply to be parsed.") from error
        raise _not_onnx("it is no protobuf message, or was cut short") from error
    if model.ir_version < 1 or not model.HasField("graph") or not model.opset_import:
        raise _not_onnx("it holds no graph with an IR version and an operator set")
    return model


def examine_graph(model: onnx.ModelProto, limits: IntakeLimits) -> GraphFacts:
    """Check all that can be checked without running, and gather what the file says of itself."""
    _check_texts(model, limits)
    _check_versions(model)
    if model.functions:
        raise IntakeRefused(
            "unsupported_op",
            422,
            "The model carries functions of its own; inline them with onnx.inliner.inline_local_functions.",
        )
    ops: Counter[tuple[str, str]] = Counter()
    tensors = initializer_bytes = 0
    for graph in _graphs(model.graph, limits):
        ops.update((node.domain, node.op_type) for node in graph.node)
        for tensor in _tensors(graph):
            tensors += 1
            if tensors > limits.tensors:
                raise _too_large(f"It stores more than {limits.tensors:,} tensors.")
            initializer_bytes += _check_tensor(tensor)
    _check_operators(ops)
    _check_outputs(model.graph)
    return GraphFacts(
        ir_version=model.ir_version,
        opsets={shown_domain(entry.domain): entry.version for entry in model.opset_import[:20]},
        producer=model.producer_name[:200],
        producer_version=model.producer_version[:200],
        description=model.doc_string[:2000],
        node_count=ops.total(),
        initializer_bytes=initializer_bytes,
        ops={op_type: count for (_, op_type), count in ops.most_common()},
        class_labels=_class_labels(model.graph),
        value_costs=has_value_costs(model.graph),
    )


def shown_domain(domain: str) -> str:
    """Name the operator domain: the empty one is ai.onnx."""
    return domain[:200] or "ai.onnx"


def _graphs(root: onnx.GraphProto, limits: IntakeLimits) -> Iterator[onnx.GraphProto]:
    """Yield the graph and its subgraphs while they stay within the caps on nodes and depth."""
    nodes = 0
    waiting = [(root, 0)]
    while waiting:
        graph, depth = waiting.pop()
        nodes += len(graph.node)
        if nodes > limits.nodes:
            raise _too_large(f"It has more than {limits.nodes:,} nodes.")
        if depth > limits.depth:
            raise _too_large(f"It has more than {limits.depth} subgraphs within each other.")
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                # What an attribute says of its own type can lie: look at what it holds.
                if attribute.HasField("g"):
                    waiting.append((attribute.g, depth + 1))
                waiting.extend((inner, depth + 1) for inner in attribute.graphs)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor that the graph itself stores, wherever it sits."""
    yield from graph.initializer
    sparse = list(graph.sparse_initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                sparse.append(attribute.sparse_tensor)
            sparse.extend(attribute.sparse_tensors)
    for tensor in sparse:
        yield tensor.values
        yield tensor.indices


def _check_tensor(tensor: onnx.TensorProto) -> int:
    """Refuse external data and a shape that does not match the bytes; return the bytes held."""
    name = shown(tensor.name)
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise IntakeRefused(
            "external_data",
            422,
            f"The tensor {name} keeps its data in another file; save the model as one file "
            "(onnx.save with save_as_external_data=False).",
        )
    count = math.prod(tensor.dims)
    if min(tensor.dims, default=0) < 0:
        raise _invalid_tensor(f"The tensor {name} has a negative dimension: {list(tensor.dims)[:8]}.")
    if tensor.HasField("raw_data"):
        held = len(tensor.raw_data)
        bits = _BITS.get(tensor.data_type)
        if bits is not None and held * 8 != count * bits:
            raise _invalid_tensor(
                f"The tensor {name} of shape {list(tensor.dims)[:8]} needs {count * bits // 8:,} bytes "
                f"and holds {held:,}."
            )
        return held
    if tensor.data_type not in _BITS and tensor.data_type != onnx.TensorProto.STRING:
        return tensor.ByteSize()
    values = len(getattr(tensor, _TYPED_FIELDS.get(tensor.data_type, "int32_data")))
    if values != count:
        raise _invalid_tensor(
            f"The tensor {name} of shape {list(tensor.dims)[:8]} needs {count:,} values and holds {values:,}."
        )
    return tensor.ByteSize()


def _check_versions(model: onnx.ModelProto) -> None:
    """Refuse models for training, and IR versions and operator sets that are too old to be read."""
    if model.training_info or any(entry.domain in _TRAINING_DOMAINS for entry in model.opset_import):
        raise _unsupported_opset("it carries training steps; export it for inference, with opsets of ai.onnx")
    if model.ir_version < OLDEST_IR:
        raise _unsupported_opset(
            f"it has IR version {model.ir_version}; export it with IR version {OLDEST_IR} or newer"
        )
    for entry in model.opset_import:
        oldest = OLDEST_OPSETS.get(shown_domain(entry.domain), 1)
        if entry.version < oldest:
            raise _unsupported_opset(
                f"it uses opset {entry.version} of {shown_domain(entry.domain)}; export it with opset {oldest} "
                "or newer"
            )


def _unsupported_opset(why: str) -> IntakeRefused:
    return IntakeRefused("unsupported_opset", 422, f"The model cannot be served: {why}.")


def _check_operators(ops: Counter[tuple[str, str]]) -> None:
    if not all(isinstance(name, str) for operator in ops for name in operator):
        raise not_utf8()  # protobuf gives bytes where a text is none
    unknown = [
        f"{shown_domain(domain)}.{op_type}"
        for domain, op_type in ops
        if domain not in _DOMAINS or not onnx.defs.has(op_type, "" if domain == "ai.onnx" else domain)
    ]
    if unknown:
        raise IntakeRefused(
            "unsupported_op",
            422,
            f"The model uses operators that are not served: {shown(', '.join(sorted(unknown)), 300)}. Export "
            "it with the standard operators of ai.onnx and ai.onnx.ml.",
        )


def _check_outputs(graph: onnx.GraphProto) -> None:
    if not graph.output:
        raise unsupported_output("The model has no outputs; export it with the prediction as an output.")
    for output in graph.output:
        kind = output.type.WhichOneof("value") or ""
        if kind not in _OUTPUT_KINDS:
            raise not_a_tensor(output.name, kind.removesuffix("_type"))


def not_a_tensor(name: str, kind: str) -> IntakeRefused:
    """Refuse an output that is a sequence or a map, with the way to get a tensor."""
    return unsupported_output(
        f"The output {shown(name)} is a {kind}, not a tensor; convert the model without ZipMap: "
        "zipmap=False (skl2onnx: options={'zipmap': False})."
    )


def not_utf8() -> IntakeRefused:
    """Refuse names that are no text."""
    return IntakeRefused(
        "invalid_text", 422, "A name in the model is not UTF-8 text; export the model again."
    )


def unsupported_output(detail: str) -> IntakeRefused:
    """Refuse the model for its outputs."""
    return IntakeRefused("unsupported_output", 422, detail)


def _check_texts(model: onnx.ModelProto, limits: IntakeLimits) -> None:
    size = len(model.doc_string) + len(model.graph.doc_string)
    size += sum(len(entry.key) + len(entry.value) for entry in model.metadata_props)
    if size > limits.text_bytes:
        raise IntakeRefused(
            "text_too_long",
            422,
            f"The model's documentation and metadata properties hold {size:,} characters; "
            f"at most {limits.text_bytes:,} are kept: clear doc_string and metadata_props.",
        )


def _class_labels(graph: onnx.GraphProto) -> dict[str, list[str]]:
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    found = {output.name: _labels_behind(output.name, makers, constants) for output in graph.output}
    return {name: labels for name, labels in found.items() if labels}


def _labels_behind(
    output: str, makers: dict[str, onnx.NodeProto], constants: dict[str, onnx.TensorProto]
) -> list[str]:
    """Walk back from an output to the nearest node that knows class labels."""
    waiting, seen = [output], {output}
    for name in waiting:
        node = makers.get(name)
        if node is None:
            continue
        labels = _labels_of(node, constants)
        if labels:
            return labels
        fresh = dict.fromkeys(source for source in node.input if source not in seen)
        seen.update(fresh)
        waiting.extend(fresh)
    return []


def _labels_of(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> list[str]:
    for attribute in node.attribute:
        if attribute.name in _CLASS_LABELS and (attribute.strings or attribute.ints):
            texts = [text.decode("utf-8", "replace") for text in attribute.strings]
            return (texts or [str(label) for label in attribute.ints])[:10_000]
    # scikit-learn's converter picks the label out of a constant of classes by the index of the largest score.
    if node.op_type == "ArrayFeatureExtractor" and node.input[0] in constants:
        array = onnx.numpy_helper.to_array(constants[node.input[0]])
        if array.dtype.kind in "iUO" and array.size <= 10_000:
            return [_text(value) for value in array.reshape(-1).tolist()]
    return []


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _not_onnx(why: str) -> IntakeRefused:
    return IntakeRefused(
        "not_onnx", 422, f"The file is not an ONNX model: {why}. Upload the .onnx file itself."
    )


def _too_large(why: str) -> IntakeRefused:
    return IntakeRefused("graph_too_large", 422, f"The graph is too large to be served. {why}")


def _invalid_tensor(detail: str) -> IntakeRefused:
    return IntakeRefused("invalid_tensor", 422, f"{detail} Export the model again.")
