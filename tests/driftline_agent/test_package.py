"""The agent is a distribution of its own, which needs nothing of the server's."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

import driftline_agent

pytestmark = pytest.mark.slow

FOLDER = Path(driftline_agent.__file__).parent
LOOK = "import sys, driftline_agent.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"

ADD_UP = """
import sys
from driftline_agent.kernel_path import add_kernel_path
add_kernel_path()
from driftline_agent.rows.row_summaries import Layout, add_rows
row = {"features": {"x": 1.5}, "prediction": 2.0, "latency_ms": 1.0}
windows = add_rows({}, [row], Layout({"x": 0.0}, 0.0, "regression", None, (), ()))
from driftline_agent.server.manifest import ImageLayout, Signature, TensorSpec
from driftline_agent.measures import measure
import numpy as np
image = Signature((), (TensorSpec("X", "FP32", (-1, 2, 2)),), (), None, None, (), {}, ImageLayout("NHW", 0.0, 1.0), "e")
feed, outputs = {"X": np.ones((1, 2, 2), np.float32)}, {"e": np.ones((1, 3), np.float32)}
print(windows[""].rows, len(measure(image, feed, outputs)), sys.modules["inference.images"].__file__)
"""


def test_imports_neither_django_nor_anything_of_the_server() -> None:
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent)}

    loaded = subprocess.run(
        [sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()

    assert {"driftline_agent", "onnxruntime"} <= set(loaded)
    assert set(loaded) & {"django", "driftline", "driftline_client", "inference", "monitors", "onnx"} == set()


def test_needs_six_packages() -> None:
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]

    names = {re.split(r"[^\w-]", one)[0] for one in project["dependencies"]}
    assert names == {"cryptography", "httpx", "msgspec", "numpy", "onnxruntime", "zstandard"}


def test_the_wheel_holds_all_that_adds_up_rows(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=FOLDER, capture_output=True, check=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "device")
    foreign = tmp_path / "foreign" / "inference"  # as a package for cameras is called
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("raise ImportError")
    # -S: what the environment of the tests has on the path besides packages is not there
    packages = sysconfig.get_path("purelib")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path / 'device'}{os.pathsep}{foreign.parent}{os.pathsep}{packages}",
    }

    loaded = subprocess.run(
        [sys.executable, "-S", "-c", ADD_UP],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    ours = tmp_path / "device/driftline_agent/kernels/inference/images.py"
    assert loaded.stdout.split() == ["1", "7", str(ours)], loaded.stderr
