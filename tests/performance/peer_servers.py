"""The servers of other products as processes: each in an environment of its own, laid out in a folder of its own.

`peers/install` makes the environments in `.bench-peers`; the benchmarks measure these servers, and the tests of
remote versions put them behind ours.
"""

import json
import os
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any, Protocol

from tests.performance.contenders import running
from tests.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = Path(__file__).with_name("peers")


@dataclass(frozen=True)
class Launch:
    """How to start a peer in a folder of its own, and where it is asked."""

    command: Sequence[str]
    port: int
    environment: dict[str, str]
    path: str = "/v2/models/trees/infer"
    ready_path: str = "/v2/health/ready"


class Environment:
    """A peer's own environment."""

    def __init__(self, name: str) -> None:
        self.folder = CHECKOUT / ".bench-peers" / name
        self.python = self.folder / "bin" / "python"

    def install(self, name: str) -> None:
        subprocess.run([str(SOURCES / "install"), name], check=True, capture_output=True, text=True)

    def ask(self, code: str) -> str:
        return self.run("-c", code)

    def run(self, *arguments: str | Path) -> str:
        result = subprocess.run([self.python, *arguments], check=True, capture_output=True, text=True)
        return result.stdout.strip()

    def packages(self) -> Path:
        return Path(self.ask("import sysconfig; print(sysconfig.get_path('purelib'))"))

    def version(self, package: str) -> str:
        [found] = self.packages().glob(f"{package.replace('-', '_')}-*.dist-info")
        return PathDistribution(found).version

    def variables(self, **more: str) -> dict[str, str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "VIRTUAL_ENV": str(self.folder), **more}


# -- how each is started -----------------------------------------------------------------------------------------------
def prepare_mlserver(own: Environment, folder: Path, model: bytes, *, batching: bool) -> Launch:
    (folder / "model.onnx").write_bytes(model)
    trees: dict[str, Any] = {"implementation": "mlserver_peer.Trees", "parameters": {"uri": "./model.onnx"}}
    if batching:
        trees |= {"max_batch_size": 64, "max_batch_time": 0.002}
    return lay_out_mlserver(own, folder, "trees", trees)


def lay_out_mlserver(own: Environment, folder: Path, name: str, served: dict[str, Any]) -> Launch:
    """Have MLServer serve one model in one process; `served` is the rest of its `model-settings.json`."""
    port = free_port()
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,  # a worker beside the server halves its throughput here
        "debug": False,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps({"name": name, **served}))
    command = [str(own.folder / "bin" / "mlserver"), "start", str(folder)]
    environment = own.variables(PYTHONPATH=str(SOURCES))
    return Launch(command, port, environment, path=f"/v2/models/{name}/infer")


def prepare_litserve(own: Environment, folder: Path, model: bytes, *, batching: bool) -> Launch:
    port = free_port()
    (folder / "model.onnx").write_bytes(model)
    command = [str(own.python), str(SOURCES / "litserve_peer.py"), str(port)]
    environment = own.variables(PEER_MODEL=str(folder / "model.onnx"))
    return Launch(command, port, environment, ready_path="/health")


def prepare_torchserve(own: Environment, folder: Path, model: bytes, *, batching: bool) -> Launch:
    (folder / "model.onnx").write_bytes(model)
    together = {"batchSize": 64, "maxBatchDelay": 2} if batching else {}
    handler = SOURCES / "torchserve_peer.py"
    return lay_out_torchserve(own, folder, "trees", folder / "model.onnx", handler, **together)


def lay_out_torchserve(
    own: Environment, folder: Path, name: str, model: Path, handler: Path, **served: Any
) -> Launch:
    """Have TorchServe serve a model's file with one worker that runs `handler`; `served` are its other settings."""
    port = free_port()
    manifest = {
        "runtime": "python",
        "model": {
            "modelName": name,
            "modelVersion": "1.0",
            "handler": handler.name,
            "serializedFile": model.name,
        },
        "archiverVersion": "0.12.0",
    }
    with zipfile.ZipFile(folder / f"{name}.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.write(model, model.name)
        archive.write(handler, handler.name)
    served = {"marName": f"{name}.mar", "minWorkers": 1, "maxWorkers": 1, **served}
    addresses = {"inference": port, "management": free_port(), "metrics": free_port()}
    lines = [f"{kind}_address=http://127.0.0.1:{number}" for kind, number in addresses.items()]
    lines += [f"model_store={folder}", f"load_models={name}.mar", "disable_token_authorization=true"]
    lines += [f"models={json.dumps({name: {'1.0': served}})}", "disable_system_metrics=true"]
    lines += [
        "enable_grpc_ssl=false",
        f"grpc_inference_port={free_port()}",
        f"grpc_management_port={free_port()}",
    ]
    (folder / "config.properties").write_text("\n".join(lines) + "\n")
    command = [str(own.folder / "bin" / "torchserve"), "--start", "--foreground", "--ncs"]
    command += ["--ts-config", str(folder / "config.properties")]
    environment = own.variables(TEMP=str(folder), LOG_LOCATION=str(folder), METRICS_LOCATION=str(folder))
    return Launch(command, port, environment, path=f"/predictions/{name}", ready_path="/ping")


def prepare_triton(own: Environment, folder: Path, model: bytes, *, batching: bool) -> Launch:
    """Lay out a repository; the stub of the Python backend is that of the interpreter in use."""
    port = free_port()
    (folder / "model.onnx").write_bytes(model)
    home = own.packages() / "pytriton" / "tritonserver"
    version = own.ask("import sys; print(f'{sys.version_info[0]}.{sys.version_info[1]}')")
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True)
    for source in [
        *(home / "backends" / "python").iterdir(),
        *(home / "python_backend_stubs" / version).iterdir(),
    ]:
        (backend / source.name).symlink_to(source)
    repository = folder / "repository" / "trees"
    (repository / "1").mkdir(parents=True)
    (repository / "1" / "model.py").write_text((SOURCES / "triton_peer.py").read_text())
    (repository / "config.pbtxt").write_text(TRITON_CONFIG + TRITON_BATCHING * batching)
    libraries = own.ask("import sysconfig; print(sysconfig.get_config_var('LIBDIR'))")
    command = [str(home / "bin" / "tritonserver"), f"--model-repository={repository.parent}"]
    command += [f"--backend-directory={backend.parent}", "--http-address=127.0.0.1", f"--http-port={port}"]
    command += ["--allow-grpc=false", "--allow-metrics=false", "--log-warning=false", "--log-info=false"]
    environment = own.variables(
        PEER_MODEL=str(folder / "model.onnx"),
        LD_LIBRARY_PATH=f"{libraries}:{own.packages() / 'nvidia_pytriton.libs'}",
    )
    return Launch(command, port, environment)


TRITON_CONFIG = """
name: "trees"
backend: "python"
max_batch_size: 64
input [{ name: "X", data_type: TYPE_FP32, dims: [ 30 ] }]
output [
  { name: "label", data_type: TYPE_INT64, dims: [ 1 ] },
  { name: "probabilities", data_type: TYPE_FP32, dims: [ 2 ] }
]
instance_group [{ kind: KIND_CPU, count: 1 }]
"""
TRITON_BATCHING = "dynamic_batching { max_queue_delay_microseconds: 200 }\n"


class Prepare(Protocol):
    """Lays out a peer's files; with `batching` it waits a moment for requests to run together."""

    def __call__(self, own: Environment, folder: Path, model: bytes, *, batching: bool) -> Launch: ...


PEERS: dict[str, tuple[str, Prepare]] = {
    "triton": ("nvidia-pytriton", prepare_triton),
    "torchserve": ("torchserve", prepare_torchserve),
    "mlserver": ("mlserver", prepare_mlserver),
    "litserve": ("litserve", prepare_litserve),
}


# -- running -----------------------------------------------------------------------------------------------------------
@contextmanager
def started(launch: Launch, folder: Path) -> Iterator[int]:
    """Run a server until the block ends, and give its process id; where it does not start, say what it wrote."""
    with (folder / "output.log").open("a") as log, ExitStack() as stack:
        try:
            pid = stack.enter_context(
                running(
                    launch.command,
                    launch.port,
                    ready_path=launch.ready_path,
                    env=launch.environment,
                    cwd=folder,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
        except RuntimeError as error:
            raise RuntimeError(f"{error} {(folder / 'output.log').read_text()[-600:]}") from error
        yield pid
