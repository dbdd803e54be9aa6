"""Real servers of other products, each with the same model, as the upstreams of remote versions."""

import json
import os
import signal
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from tests.flows.installation.running import FEATURES
from tests.performance.peer_servers import (
    Environment,
    Launch,
    lay_out_mlserver,
    lay_out_torchserve,
    started,
)
from tests.upstreams.risk import METADATA, Rows, theirs

Probabilities = NDArray[np.float64]
SOURCES = Path(__file__).parent
MODEL = "risk"
INPUTS = [{"name": "X", "datatype": "FP32", "shape": [-1, len(FEATURES)]}]
SKLEARN_OUTPUTS = [
    {"name": "label", "datatype": "INT64", "shape": [-1], "upstream": "predict"},
    {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2], "upstream": "predict_proba"},
]
"""MLServer's runtime tells no tensors, and answers with its probabilities only where they are asked for."""


@dataclass
class Upstream:
    """A server that runs, is killed and runs again at the same address.

    `label` is its own name of the answered class, `told` the part of its endpoint that is not the same for all, and
    `ask` asks a URL of it past Driftline.
    """

    name: str
    launch: Launch
    folder: Path
    label: str
    told: dict[str, Any]
    ask: Callable[[str, Rows], Probabilities]
    _running: ExitStack = field(default_factory=ExitStack)
    _pid: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.launch.port}"

    @property
    def version(self) -> dict[str, Any]:
        """The body that makes a version of it."""
        return {
            "endpoint": {"url": self.url, "model": MODEL, "inputs": INPUTS, **self.told},
            "metadata": METADATA,
        }

    def probabilities(self, rows: Rows) -> Probabilities:
        """Ask the server itself for the probability of class 1 of each row."""
        return self.ask(f"{self.url}{self.launch.path}", rows)

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers."""
        if self._pid is None:
            self._pid = self._running.enter_context(started(self.launch, self.folder))

    def kill(self) -> None:
        """Send SIGKILL to all its processes, which are one group."""
        assert self._pid is not None
        os.killpg(self._pid, signal.SIGKILL)
        self.end()

    def end(self) -> None:
        self._running.close()
        self._pid = None


def mlserver(folder: Path) -> Upstream:
    """MLServer with its own runtime for scikit-learn, over V2."""
    own = installed("mlserver")
    joblib.dump(theirs(), folder / "model.joblib")
    served = {"implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./model.joblib"}}
    return Upstream(
        "mlserver",
        lay_out_mlserver(own, folder, MODEL, served),
        folder,
        "predict",
        {"protocol": "v2", "outputs": SKLEARN_OUTPUTS},
        _ask_mlserver,
    )


def torchserve(folder: Path) -> Upstream:
    """TorchServe with a PyTorch model as TorchScript, and a handler."""
    own = installed("torchserve")
    model, coefficients = theirs(), folder / "coefficients.json"
    told = {"weights": model.coef_[0].tolist(), "bias": float(model.intercept_[0])}
    coefficients.write_text(json.dumps(told))
    own.run(SOURCES / "torch_model.py", coefficients, folder / "model.pt")
    handler = SOURCES / "torchserve_handler.py"
    return Upstream(
        "torchserve",
        lay_out_torchserve(own, folder, MODEL, folder / "model.pt", handler),
        folder,
        "label",
        {"protocol": "torchserve"},
        _ask_torchserve,
    )


def installed(name: str) -> Environment:
    own = Environment(name)
    own.install(name)
    return own


def _ask_mlserver(url: str, rows: Rows) -> Probabilities:
    tensor = {"name": "X", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    [output] = _post(url, {"inputs": [tensor], "outputs": [{"name": "predict_proba"}]})["outputs"]
    return np.array(output["data"]).reshape(output["shape"])[:, 1]


def _ask_torchserve(url: str, rows: Rows) -> Probabilities:
    return np.array([item["probabilities"][1] for item in _post(url, rows.tolist())])


def _post(url: str, document: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
