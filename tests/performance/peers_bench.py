"""Products beside ours: `python -m tests.performance.peers_bench [--json PATH]`, which `make bench-peers` runs.

MLServer, LitServe, TorchServe and Triton, each in an environment of its own that `peers/install` makes, one worker
each, with the same model, load and checked answers. None has a runtime for ONNX that a package brings: all run ONNX
Runtime, with one thread, in the way each has for a model of one's own. Triton is the real server (2.51) out of
`nvidia-pytriton`, which carries its Python backend alone; its C++ backend for ONNX comes only in a container and may
well be faster. With one connection no peer waits for a batch to fill: there is none to wait for. What cannot be
installed or started here is named and left out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any, Protocol

from tests.performance.contenders import (
    Contender,
    build_model,
    running,
    start_driftline,
    start_peer,
    write_questions,
)
from tests.performance.load_client import WrongAnswer, run_load
from tests.performance.rounds import measure, show, summarise
from tests.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = Path(__file__).with_name("peers")
WARM_SECONDS = 4.0  # a Java server compiles itself meanwhile


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
        result = subprocess.run([str(self.python), "-c", code], check=True, capture_output=True, text=True)
        return result.stdout.strip()

    def packages(self) -> Path:
        return Path(self.ask("import sysconfig; print(sysconfig.get_path('purelib'))"))

    def variables(self, **more: str) -> dict[str, str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "VIRTUAL_ENV": str(self.folder), **more}


# -- how each is started -----------------------------------------------------------------------------------------------
def prepare_mlserver(own: Environment, folder: Path, model: bytes, *, batching: bool) -> Launch:
    port = free_port()
    (folder / "model.onnx").write_bytes(model)
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,  # a worker beside the server halves its throughput here
        "debug": False,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    trees: dict[str, Any] = {
        "name": "trees",
        "implementation": "mlserver_peer.Trees",
        "parameters": {"uri": "./model.onnx"},
    }
    if batching:
        trees |= {"max_batch_size": 64, "max_batch_time": 0.002}
    (folder / "model-settings.json").write_text(json.dumps(trees))
    command = [str(own.folder / "bin" / "mlserver"), "start", str(folder)]
    return Launch(command, port, own.variables(PYTHONPATH=str(SOURCES)))


def prepare_litserve(own: Environment, folder: Path, model: bytes, *, batching: bool) -> Launch:
    port = free_port()
    (folder / "model.onnx").write_bytes(model)
    command = [str(own.python), str(SOURCES / "litserve_peer.py"), str(port)]
    environment = own.variables(PEER_MODEL=str(folder / "model.onnx"))
    return Launch(command, port, environment, ready_path="/health")


def prepare_torchserve(own: Environment, folder: Path, model: bytes, *, batching: bool) -> Launch:
    port = free_port()
    manifest = {
        "runtime": "python",
        "model": {
            "modelName": "trees",
            "modelVersion": "1.0",
            "handler": "torchserve_peer.py",
            "serializedFile": "model.onnx",
        },
        "archiverVersion": "0.12.0",
    }
    with zipfile.ZipFile(folder / "trees.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("model.onnx", model)
        archive.write(SOURCES / "torchserve_peer.py", "torchserve_peer.py")
    served: dict[str, Any] = {"marName": "trees.mar", "minWorkers": 1, "maxWorkers": 1}
    if batching:
        served |= {"batchSize": 64, "maxBatchDelay": 2}
    addresses = {"inference": port, "management": free_port(), "metrics": free_port()}
    lines = [f"{name}_address=http://127.0.0.1:{number}" for name, number in addresses.items()]
    lines += [f"model_store={folder}", "load_models=trees.mar", "disable_token_authorization=true"]
    lines += [f"models={json.dumps({'trees': {'1.0': served}})}", "disable_system_metrics=true"]
    lines += [
        "enable_grpc_ssl=false",
        f"grpc_inference_port={free_port()}",
        f"grpc_management_port={free_port()}",
    ]
    (folder / "config.properties").write_text("\n".join(lines) + "\n")
    command = [str(own.folder / "bin" / "torchserve"), "--start", "--foreground", "--ncs"]
    command += ["--ts-config", str(folder / "config.properties")]
    environment = own.variables(TEMP=str(folder), LOG_LOCATION=str(folder), METRICS_LOCATION=str(folder))
    return Launch(command, port, environment, path="/predictions/trees", ready_path="/ping")


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


# -- measuring ---------------------------------------------------------------------------------------------------------
def bench_peer(
    name: str, model: bytes, rows: Any, beside: Sequence[Contender], options: argparse.Namespace
) -> dict[str, Any]:
    """Measure one peer in turn with those that run already, at each number of connections."""
    package, prepare = PEERS[name]
    own = Environment(name)
    own.install(name)
    results = []
    for connections in (32, 1):
        with tempfile.TemporaryDirectory() as folder:
            launch = prepare(own, Path(folder), model, batching=connections > 1)
            with _started(name, launch, Path(folder)) as peer:
                asked = dict.fromkeys(beside, write_questions(model, rows))
                asked[peer] = write_questions(model, rows, path=launch.path)
                run_load(peer.port, asked[peer], 32, WARM_SECONDS)
                loads = measure(asked, connections, options.rounds, options.seconds)
        summary = {"connections": connections, **summarise(loads)}
        results.append(summary)
        show(f"{package} {_version(own, package)}, {connections} connection(s), closed loop", summary)
    return {"version": _version(own, package), "settings": results}


@contextmanager
def _started(name: str, launch: Launch, folder: Path) -> Iterator[Contender]:
    """Run a peer until the block ends; where it does not start, say what it wrote."""
    with (folder / "output.log").open("w") as log, ExitStack() as stack:
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
        yield Contender(name, launch.port, pid)


def _version(own: Environment, package: str) -> str:
    [found] = own.packages().glob(f"{package.replace('-', '_')}-*.dist-info")
    return PathDistribution(found).version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    options = parser.parse_args()
    model, rows = build_model()
    results: dict[str, Any] = {"measured": {}, "left_out": {}}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        beside = [
            start_driftline(stack, Path(folder), model),
            start_peer(stack, "fastapi", Path(folder) / "model.onnx"),
        ]
        for name in options.peers:
            try:
                results["measured"][name] = bench_peer(name, model, rows, beside, options)
            except (RuntimeError, OSError, WrongAnswer, subprocess.CalledProcessError) as error:
                reason = f"{error} {getattr(error, 'stderr', None) or ''}".strip()
                results["left_out"][name] = reason
                print(f"\n{name} is left out: {reason}", file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps({"peers": results}, indent=2))


if __name__ == "__main__":
    main()
