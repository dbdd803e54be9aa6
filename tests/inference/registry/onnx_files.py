"""ONNX files, good and hostile, made in bytes by the tests and never committed."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
from onnx.helper import (
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_tensor,
    make_tensor_value_info,
)

from inference.registry.intake import (
    IntakeLimits,
    IntakeRefused,
    IntakeReport,
    UploadMetadata,
    inspect_artifact,
)

QUICK = IntakeLimits(run_cpu_s=1)


def inspect(
    folder: Path,
    content: bytes,
    metadata: UploadMetadata | None = None,
    *,
    task: str = "regression",
    limits: IntakeLimits = QUICK,
) -> IntakeReport:
    """Write the content to a file and inspect it."""
    path = folder / "upload.onnx"
    path.write_bytes(content)
    return inspect_artifact(path, metadata, task=task, limits=limits)


def refusal(
    folder: Path, content: bytes, metadata: UploadMetadata | None = None, *, task: str = "regression"
) -> IntakeRefused:
    """Inspect what must be refused, and return the refusal."""
    with pytest.raises(IntakeRefused) as caught:
        inspect(folder, content, metadata, task=task)
    return caught.value


def tensor(name: str, shape: Sequence[int | None] | None, kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    """Describe an input or output."""
    return make_tensor_value_info(name, kind, shape)


X = tensor("x", [None, 2])
Y = tensor("y", None)


def model(
    nodes: Iterable[NodeProto],
    inputs: Sequence[ValueInfoProto] = (X,),
    outputs: Sequence[ValueInfoProto] = (Y,),
    constants: Sequence[TensorProto] = (),
    *,
    opset: int = 15,
    domains: Sequence[str] = (),
) -> ModelProto:
    """Build a model."""
    return make_model(
        graph(nodes, inputs, outputs, constants),
        opset_imports=[make_opsetid("", opset), *(make_opsetid(domain, 1) for domain in domains)],
        ir_version=8,
    )


def graph(
    nodes: Iterable[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    constants: Sequence[TensorProto] = (),
) -> GraphProto:
    """Build a graph."""
    return make_graph(list(nodes), "g", list(inputs), list(outputs), list(constants))


def summing_model(columns: int | None = 2) -> bytes:
    """A regression that sums its inputs."""
    return model(
        [make_node("ReduceSum", ["x", "axes"], ["y"])],
        [tensor("x", [None, columns])],
        [tensor("y", [None, 1])],
        [make_tensor("axes", TensorProto.INT64, [1], [1])],
    ).SerializeToString()


def memory_bomb() -> bytes:
    """Some 80 bytes that ask for 256 GiB when run."""
    size = make_tensor("s", TensorProto.INT64, [1], [1 << 36])
    return model(
        [make_node("ConstantOfShape", ["s"], ["y"])], [], [tensor("y", [None])], [size]
    ).SerializeToString()


def endless_loop() -> bytes:
    """Some 200 bytes that never come to an end."""
    body = graph(
        [make_node("Identity", ["c"], ["co"]), make_node("Identity", ["v"], ["vo"])],
        [tensor("i", [], TensorProto.INT64), tensor("c", [], TensorProto.BOOL), tensor("v", None)],
        [tensor("co", [], TensorProto.BOOL), tensor("vo", None)],
    )
    always = make_tensor("t", TensorProto.BOOL, [], [True])
    return model(
        [make_node("Loop", ["", "t", "x"], ["y"], body=body)], constants=[always]
    ).SerializeToString()


def endless_folding() -> bytes:
    """A few hundred bytes that ONNX Runtime works on for minutes while it loads them, folding constants."""
    size = make_tensor("s", TensorProto.INT64, [2], [6000, 6000])
    products = [make_node("MatMul", [f"m{place}", f"m{place}"], [f"m{place + 1}"]) for place in range(20)]
    return model(
        [
            make_node("ConstantOfShape", ["s"], ["m0"]),
            *products,
            make_node("ReduceSum", ["m20"], ["r"], keepdims=0),
            make_node("Add", ["x", "r"], ["y"]),
        ],
        constants=[size],
    ).SerializeToString()


def nested_subgraphs(depth: int) -> bytes:
    """A graph in a graph in a graph, written without a library, as none would write so many."""
    graph_bytes = b""
    for _ in range(depth):
        graph_bytes = _field(1, _field(5, _field(6, graph_bytes)))
    return b"\x08\x08" + _field(7, graph_bytes) + _field(8, b"\x10\x0f")


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
