"""A running server, the environment of the foreign clients, and the questions that all of them ask."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier

from inference.serving.plan import PlanModel
from tests.inference.onnx_models import (
    classifier_signature,
    identity_model,
    identity_signature,
    linear_model,
    linear_signature,
    store,
)
from tests.inference.serving.running import Server, publish, running_server, token

PROGRAMS = Path(__file__).parent / "programs"
TOKEN = "dl_foreign"
SINGLE_TOKEN = "dl_single"  # of a project that has the forest alone
FEATURES = 4
PROGRAM_SECONDS = 180

Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Platform:
    """A server of `identity` of all datatypes, `forest` and `half_plus_three`, and the models' own bytes."""

    server: Server
    models: dict[str, bytes]

    def questions(self) -> dict[str, Arrays]:
        """Give a few rows for `identity` and `forest`, extremes of each datatype among them."""
        identity = {}
        for datatype in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
            info = np.iinfo(datatype)
            identity[datatype] = np.array([[info.min], [info.max], [7]], dtype=datatype)
        for name, kind in (("fp16", np.float16), ("fp32", np.float32), ("fp64", np.float64)):
            identity[name] = np.array([[np.finfo(kind).max], [-0.1], [0]], dtype=kind)
        identity["bool"] = np.array([[True], [False], [True]])
        identity["bytes"] = np.array([["JFK"], [""], ["Zürich ✈"]])
        rows = np.random.default_rng(3).normal(size=(5, FEATURES)).astype(np.float32)
        return {"identity": identity, "forest": {"X": rows}}

    def own_answers(self) -> dict[str, Arrays]:
        """Ask ONNX Runtime itself."""
        answers = {}
        for name, inputs in self.questions().items():
            session = onnxruntime.InferenceSession(self.models[name], providers=["CPUExecutionProvider"])
            given = {
                key: value.astype(object) if value.dtype.kind == "U" else value
                for key, value in inputs.items()
            }
            outputs = [output.name for output in session.get_outputs()]
            answers[name] = dict(zip(outputs, session.run(outputs, given), strict=True))
        return answers


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("home")
    models = {"identity": identity_model(), "forest": _forest(), "half_plus_three": linear_model(0.5, 3)}
    identity = store(home, models["identity"], identity_signature(), id=1, version="1")
    forest = store(home, models["forest"], classifier_signature(FEATURES), id=2, version="1")
    line = store(home, models["half_plus_three"], linear_signature(), id=3, version="1")
    plan = [
        PlanModel(1, 1, "identity", 1, "1", [], [identity]),
        PlanModel(2, 1, "forest", 1, "1", [], [forest], aliases={"stable": "1"}),
        PlanModel(3, 2, "forest", 1, "1", [], [forest]),
        PlanModel(4, 1, "half_plus_three", 1, "1", [], [line]),
    ]
    publish(home, plan, [token(TOKEN, "infer", "read"), token(SINGLE_TOKEN, project_id=2)])
    with running_server(home, grpc=True) as server:
        yield Platform(server, models)


def _forest() -> bytes:
    """A random forest of two classes by scikit-learn, as its users would convert it."""
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(400, FEATURES)).astype(np.float32)
    forest = RandomForestClassifier(20, max_depth=6, random_state=2, n_jobs=1).fit(
        rows, rows.sum(axis=1) > 0.5
    )
    converted = to_onnx(forest, rows[:1], options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3})
    return bytes(converted.SerializeToString())


@dataclass(frozen=True)
class Report:
    """What a program of a foreign client brought home: answers by client and model, and other findings."""

    answers: dict[str, dict[str, Arrays]]
    findings: Any


def run_program(name: str, environment: Path, platform: Platform, folder: Path, token: str = TOKEN) -> Report:
    """Let a program ask the server, and read what it brings."""
    questions, answers, findings = folder / "questions.npz", folder / "answers.npz", folder / "findings.json"
    np.savez(questions, **_flat(platform.questions()))
    server = platform.server
    addresses = [f"127.0.0.1:{server.port}", f"127.0.0.1:{server.grpc_port}"]
    command = [environment / "bin/python", PROGRAMS / name, *addresses, token, questions, answers, findings]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_SECONDS)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with np.load(answers) as stored:
        return Report(_nested(dict(stored)), json.loads(findings.read_text()))


def _flat(questions: dict[str, Arrays]) -> Arrays:
    return {
        f"{model}/{name}": values for model, inputs in questions.items() for name, values in inputs.items()
    }


def _nested(answers: Arrays) -> dict[str, dict[str, Arrays]]:
    found: dict[str, dict[str, Arrays]] = {}
    for key, values in answers.items():
        client, model, output = key.split("/")
        found.setdefault(client, {}).setdefault(model, {})[output] = values
    return found


def differences(
    report: Report, client: str, platform: Platform, models: Sequence[str] = ("identity", "forest")
) -> list[str]:
    """Name the outputs of models that a client did not receive just as ONNX Runtime gives them."""
    received = report.answers.get(client, {})
    return [
        f"{model}/{output}"
        for model, outputs in platform.own_answers().items()
        if model in models
        for output, values in outputs.items()
        if not _equal(received.get(model, {}).get(output), values)
    ]


def _equal(received: Any, values: Any) -> bool:
    if received is None or received.shape != values.shape:
        return False
    return received.astype(object).tolist() == values.astype(object).tolist()
