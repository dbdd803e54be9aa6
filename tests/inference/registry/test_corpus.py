"""The hostile corpus against the shipped limits, from a process that stands for the web server's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import TensorProto
from onnx.helper import make_node, make_tensor

from tests.inference.registry.onnx_files import (
    endless_folding,
    endless_loop,
    memory_bomb,
    model,
    nested_subgraphs,
    summing_model,
    tensor,
)

pytestmark = [pytest.mark.slow, pytest.mark.e2e]
ROOT = Path(__file__).parents[3]
UPLOAD = """
import json, resource, sys, time
from pathlib import Path
from inference.registry.intake import IntakeRefused, inspect_artifact

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

before, refused = peak_mib(), {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    began = time.monotonic()
    try:
        inspect_artifact(path, task="regression")
    except IntakeRefused as refusal:
        refused[path.name] = [refusal.code, round(time.monotonic() - began, 1)]
parsers = sorted({"onnx", "onnxruntime", "numpy"} & sys.modules.keys())
print(json.dumps({"refused": refused, "parsers": parsers, "grown_mib": peak_mib() - before}))
"""


def corpus() -> dict[str, tuple[bytes, str]]:
    """Name each file, with the code that refuses it."""
    sizes = make_tensor("s", TensorProto.INT64, [2], [1 << 20, 1 << 16])
    outer = make_node("Einsum", ["x"] * 4, ["y"], equation="ab,cd,ef,gh->abcdefgh")
    foreign = make_node("Foo", ["x"], ["y"], domain="my.own")
    return {
        "empty": (b"", "not_onnx"),
        "cut": (summing_model()[:-10], "not_onnx"),
        "pickle": (b"\x80\x04\x95" + bytes(99), "format_refused"),
        "memory": (memory_bomb(), "resource_limit"),
        "loop": (endless_loop(), "resource_limit"),
        "folding": (endless_folding(), "resource_limit"),
        "tile": (
            model([make_node("Tile", ["x", "s"], ["y"])], constants=[sizes]).SerializeToString(),
            "resource_limit",
        ),
        "outer": (model([outer], [tensor("x", [None, 400])]).SerializeToString(), "resource_limit"),
        "deep": (nested_subgraphs(10_000), "graph_too_large"),
        "foreign": (model([foreign], domains=["my.own"]).SerializeToString(), "unsupported_op"),
        "future": (
            model([make_node("Identity", ["x"], ["y"])], opset=99).SerializeToString(),
            "unsupported_opset",
        ),
    }


def test_all_are_refused_and_the_process_that_took_them_parses_nothing(tmp_path: Path) -> None:
    files = corpus()
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)

    done = subprocess.run(
        [sys.executable, "-c", UPLOAD, str(tmp_path)],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"},
        capture_output=True,
        check=True,
    )

    told = json.loads(done.stdout)
    print(told)  # the seconds of each
    assert {name: code for name, (code, _) in told["refused"].items()} == {
        name: code for name, (_, code) in files.items()
    }
    assert told["parsers"] == []
    assert told["grown_mib"] < 20
