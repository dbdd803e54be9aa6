"""Adds the champion's tensors to a trainer's ONNX, so that the champion's callers can ask it as it is.

A trainer exports one input a feature. In front of that the champion's tensors are cast and split; behind it the
label and the probabilities get the champion's names, types and shapes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
from onnx.helper import make_node, make_opsetid, make_tensor, make_tensor_value_info

from inference.protocol.v2.tensors import NUMPY_TYPES
from inference.signatures import TensorSpec
from monitors.workflows.trainers.job import Layout, TrainingJob

OWN = "trainer_"
SPLIT_TAKES_SIZES = 13
"""From this opset on Split has its sizes as an input, before as an attribute."""
_TENSOR_TYPES: dict[str, int] = {
    "FP16": TensorProto.FLOAT16, "FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE,
    "BOOL": TensorProto.BOOL, "BYTES": TensorProto.STRING, "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16, "INT32": TensorProto.INT32, "INT64": TensorProto.INT64,
    "UINT8": TensorProto.UINT8, "UINT16": TensorProto.UINT16, "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
}  # fmt: skip


class IncompatibleLayout(Exception):
    """The champion has a tensor that no trainer can give; the message says which."""

    code = "incompatible_layout"


def adopt_layout(job: TrainingJob, content: bytes) -> bytes:
    """Return the trainer's ONNX the tensors that the job asks for; raises IncompatibleLayout."""
    model = onnx.load_from_string(content)
    if job.layout is None or _has(model.graph, job.layout):
        return content
    model = onnx.compose.add_prefix(model, OWN)
    graph = model.graph
    before, inputs = _inputs(job, _opset(model))
    after, outputs = _outputs(job, graph)
    nodes = [*before, *graph.node, *after]
    for part in (graph.node, graph.input, graph.output):
        del part[:]
    graph.node.extend(nodes)
    graph.input.extend(inputs)
    graph.output.extend(outputs)
    graph.initializer.extend(_shapes(job))
    onnx.checker.check_model(model)
    adopted: bytes = model.SerializeToString()
    return adopted


def _has(graph: GraphProto, layout: Layout) -> bool:
    return [_spec(info) for info in graph.input] == layout.inputs and (
        [_spec(info) for info in graph.output] == layout.outputs
    )


def _spec(info: ValueInfoProto) -> TensorSpec:
    tensor = info.type.tensor_type
    datatype = next((name for name, kind in _TENSOR_TYPES.items() if kind == tensor.elem_type), "")
    return TensorSpec(info.name, datatype, [size.dim_value or -1 for size in tensor.shape.dim])


def onnx_inputs(job: TrainingJob, frame: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
    """The rows as the model's named inputs; a whole number that is missing, which nobody could send, is 0."""
    if job.layout is None:
        types = {f.name: object if f.type == "string" else np.float32 for f in job.features}
        return {name: frame[name].to_numpy(kind).reshape(-1, 1) for name, kind in types.items()}
    names = [feature.name for feature in job.features]
    table = table_of(job)
    whole = {name: 0 for name in names if not job.can_be_missing(name)}
    known = frame.fillna(whole) if whole else frame
    columns = {table.name: known[names]} if table else {name: known[name] for name in names}
    return {
        spec.name: columns[spec.name]
        .to_numpy(NUMPY_TYPES.get(spec.datatype, object))
        .reshape(len(frame), *spec.shape[1:])
        for spec in job.layout.inputs
    }


def table_of(job: TrainingJob) -> TensorSpec | None:
    """Find the one tensor that takes every feature, where the job's layout has it."""
    inputs = job.layout.inputs if job.layout else []
    return inputs[0] if len(inputs) == 1 and inputs[0].shape[1:] == [len(job.features)] else None


def _opset(model: ModelProto) -> int:
    """Find the version of the standard operators; a model that uses none of them takes them on now."""
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            return int(entry.version)
    model.opset_import.append(make_opsetid("", SPLIT_TAKES_SIZES))
    return SPLIT_TAKES_SIZES


def _inputs(job: TrainingJob, opset: int) -> tuple[list[NodeProto], list[ValueInfoProto]]:
    assert job.layout is not None
    table = table_of(job)
    nodes: list[NodeProto] = []
    if table is not None:
        nodes = _cast(table.name, f"{OWN}table_in", table.datatype, _inner_type(job, job.features[0].name))
        columns = [OWN + feature.name for feature in job.features]
        if opset >= SPLIT_TAKES_SIZES:
            nodes.append(make_node("Split", [f"{OWN}table_in", f"{OWN}ones"], columns, axis=1))
        else:
            nodes.append(make_node("Split", [f"{OWN}table_in"], columns, axis=1, split=[1] * len(columns)))
    else:
        for spec in job.layout.inputs:
            cast = f"{OWN}{spec.name}_in"
            nodes += _cast(spec.name, cast, spec.datatype, _inner_type(job, spec.name))
            nodes.append(make_node("Reshape", [cast, f"{OWN}column"], [OWN + spec.name]))
    return nodes, [_value_info(spec) for spec in job.layout.inputs]


def _inner_type(job: TrainingJob, name: str) -> str:
    kind = {feature.name: feature.type for feature in job.features}[name]
    return "BYTES" if kind == "string" else "FP32"


def _cast(source: str, target: str, kind: str, wanted: str) -> list[NodeProto]:
    if kind == wanted:
        return [make_node("Identity", [source], [target])]
    return [make_node("Cast", [source], [target], to=_TENSOR_TYPES[wanted])]


def _outputs(job: TrainingJob, graph: GraphProto) -> tuple[list[NodeProto], list[ValueInfoProto]]:
    """Lead the trainer's first output to the prediction, and its last to the probabilities."""
    layout = job.layout
    assert layout is not None
    if job.task != "regression" and layout.probabilities is None:
        raise IncompatibleLayout(
            "The champion gives no probabilities, by which a challenger is judged; upload one that does."
        )
    nodes: list[NodeProto] = []
    for spec in layout.outputs:
        if spec.name == layout.probabilities:
            source = graph.output[-1].name
            if len(job.classes) == 2 and spec.shape[1:] in ([], [1]):
                nodes.append(make_node("Gather", [source, f"{OWN}second"], [f"{OWN}second_p"], axis=1))
                source = f"{OWN}second_p"
        elif spec.name == layout.prediction:
            source = graph.output[0].name
        else:
            raise IncompatibleLayout(
                f"The champion has an output '{spec.name}' that is neither its prediction nor its probabilities, "
                "and no trainer can give it; upload a champion without it."
            )
        cast, shape = f"{OWN}{spec.name}_out", f"{OWN}{spec.name}_shape"
        nodes.append(make_node("Cast", [source], [cast], to=_TENSOR_TYPES[spec.datatype]))
        nodes.append(make_node("Reshape", [cast, shape], [spec.name]))
    return nodes, [_value_info(spec) for spec in layout.outputs]


def _shapes(job: TrainingJob) -> list[TensorProto]:
    """The constants that the added nodes read."""
    assert job.layout is not None
    shapes: dict[str, list[int]] = {"ones": [1] * len(job.features), "column": [-1, 1], "second": [1]}
    for spec in job.layout.outputs:
        classes = len(job.classes) if spec.name == job.layout.probabilities else 1
        shapes[f"{spec.name}_shape"] = [-1, *(size if size >= 0 else classes for size in spec.shape[1:])]
    return [
        make_tensor(OWN + name, TensorProto.INT64, [len(values)], values) for name, values in shapes.items()
    ]


def _value_info(spec: TensorSpec) -> ValueInfoProto:
    shape = [size if size >= 0 else None for size in spec.shape]
    return make_tensor_value_info(spec.name, _TENSOR_TYPES[spec.datatype], shape)
