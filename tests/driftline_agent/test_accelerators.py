"""A profile is used where it is there, takes the model and answers as the CPU does; else the CPU answers."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from driftline_agent.accelerators import PROFILES, NotAccelerated, check_profile, compare, trial_of
from driftline_agent.cli import main
from driftline_agent.errors import AgentError
from driftline_agent.model import SAMPLE_ROWS, WAITS_FOR_ROWS, LoadedModel
from driftline_agent.server.manifest import read_manifest
from inference.edge.models import Device, DeviceGroup
from tests.driftline_agent.device import IDENTITY, PlayedDevice, enrol_in, signed, times
from tests.driftline_agent.enrolled import running_agents
from tests.inference.edge.fleet import release
from tests.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]
OPENVINO = CHECKOUT / ".streams/openvino/bin/python"


CRASH = f"""
import os, sys
from pathlib import Path
import numpy as np
from driftline_agent import model
from driftline_agent.server.manifest import SignedManifest, read_manifest

path, *signed = sys.argv[1:]
manifest = read_manifest(SignedManifest(*signed), keys=[{IDENTITY.public_key!r}], device="truck")
model.accelerate = lambda *given: os.abort()  # as a driver may
model.LoadedModel(manifest, Path(path), "cuda").prove({{"X": np.ones(({SAMPLE_ROWS}, 1), np.float32)}})
"""


def answer(device: PlayedDevice, requests: int) -> None:
    """Have programs ask for one row each, and the agent go through its loop."""
    for _ in range(requests):
        device.in_use.note_answer({"X": np.ones((1, 1), np.float32)})
    device.updater.accelerate()


def runs_on(device: PlayedDevice) -> str:
    assert device.in_use.model is not None
    return device.in_use.model.runs_on


def test_probabilities_of_a_rare_class_must_be_there_too() -> None:
    """One that answers 0 throughout would be near enough to shares below one in a hundred."""
    rare = np.array([[0.005], [0.009], [0.2]], np.float32)

    compare("probability", rare * 1.005, rare)
    with pytest.raises(NotAccelerated, match=r"is 0 there and 0\.005 on the CPU"):
        compare("probability", np.where(rare < 0.01, 0, rare), rare)
    with pytest.raises(NotAccelerated):
        compare("probability", np.zeros((2, 1), np.float32), rare[:2])


class TestWithoutAnAccelerator:
    """The ONNX Runtime of these tests has the CPU alone."""

    @pytest.mark.parametrize("name", PROFILES)
    def test_a_profile_that_cannot_be_had_says_what_to_install(self, name: str) -> None:
        with pytest.raises(AgentError, match=r"Uninstall onnxruntime and install .*\."):
            check_profile(name)

    def test_an_agent_with_such_a_profile_does_not_start(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        enrol_in(tmp_path)

        with pytest.raises(SystemExit) as ended:
            main(["run", "--home", str(tmp_path), "--port", "0", "--profile", "cuda"])

        assert ended.value.code == 1
        assert "--profile cuda" in capsys.readouterr().err

    def test_a_model_that_it_does_not_load_stays_on_the_cpu(self, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(times(3))
        manifest = read_manifest(signed(times(3)), keys=[IDENTITY.public_key], device=IDENTITY.device)
        model = LoadedModel(manifest, path, "cuda")

        model.prove({"X": np.ones((SAMPLE_ROWS, 1), np.float32)})

        assert model.runs_on.startswith("cpu, not cuda: ")
        assert not trial_of(path).exists()
        assert model.run({"X": np.array([[2.0]], np.float32)})["y"].tolist() == [[6.0]]

    def test_a_version_waits_for_rows_that_it_answered_also_after_a_restart(
        self, device: PlayedDevice
    ) -> None:
        """Two rows of zeros prove nothing of what an accelerator answers to others."""
        device.profile = "cuda"
        device.server.offer(times(3), "1")
        for begin in (device.start, device.start):
            begin()
            device.updater.poll()
            assert runs_on(device) == WAITS_FOR_ROWS

            answer(device, SAMPLE_ROWS - 1)
            assert runs_on(device) == WAITS_FOR_ROWS

            answer(device, 1)
            assert runs_on(device).startswith("cpu, not cuda: ")

    def test_a_new_version_is_judged_by_rows_of_before(self, device: PlayedDevice) -> None:
        device.profile = "cuda"
        device.start()
        device.server.offer(times(3), "1")
        device.updater.poll()
        answer(device, SAMPLE_ROWS)

        device.server.offer(times(4), "2")
        device.updater.poll()

        assert device.version() == "2"
        assert runs_on(device).startswith("cpu, not cuda: ")

    def test_a_driver_that_ends_the_agent_is_tried_once(self, device: PlayedDevice) -> None:
        device.profile = "cuda"
        device.server.offer(times(3), "1")
        device.start()
        device.updater.poll()
        answer(device, 1)
        model = device.in_use.model
        assert model is not None
        path = device.versions.path_of(model.manifest)
        current = device.versions.now.current
        assert current is not None
        died = subprocess.run(
            [sys.executable, "-c", CRASH, path, current.manifest, current.signature],
            env={"PYTHONPATH": str(CHECKOUT / "platform")},
            check=False,
        )

        device.start()
        answer(device, SAMPLE_ROWS)

        assert died.returncode == -signal.SIGABRT
        assert runs_on(device) == "cpu, not cuda: it ended the agent before"
        device.server.offer(times(4), "2")
        device.updater.poll()
        assert "ended the agent" not in runs_on(device)

    def test_of_another_profile_a_crash_says_nothing(self, device: PlayedDevice) -> None:
        device.profile = "cuda"
        device.server.offer(times(3), "1")
        device.start()
        device.updater.poll()
        model = device.in_use.model
        assert model is not None
        trial_of(device.versions.path_of(model.manifest)).write_text("tensorrt")

        answer(device, SAMPLE_ROWS)

        assert "ended the agent" not in runs_on(device)

    def test_what_was_compiled_of_a_version_goes_with_it(self, device: PlayedDevice) -> None:
        for version in (1, 2, 3):
            device.server.offer(times(version), str(version))
            device.updater.poll()
            current = device.versions.now.current
            assert current is not None
            manifest = read_manifest(current, keys=[IDENTITY.public_key], device=IDENTITY.device)
            compiled = device.versions.path_of(manifest).with_suffix(".compiled")
            compiled.mkdir()
            (compiled / "engine").touch()

        endings = sorted(path.suffix for path in device.versions.folder.iterdir())
        assert endings == [".compiled", ".compiled", ".onnx", ".onnx"]


def linear_regressor() -> bytes:
    """Three times X by an operator of `ai.onnx.ml`, as trees are."""
    node = helper.make_node(
        "LinearRegressor", ["X"], ["y"], domain="ai.onnx.ml", coefficients=[3.0], intercepts=[0.0]
    )
    shape = [None, 1]
    graph = helper.make_graph(
        [node],
        "linear",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return model


LOOK = """
import json, sys
from pathlib import Path
import numpy as np, onnxruntime as ort
from driftline_agent.accelerators import NotAccelerated, accelerate

path, expected = Path(sys.argv[1]), np.array(json.loads(sys.argv[2]), np.float32)
feed = {"X": np.array([[2.0], [3.0]], np.float32)}
try:
    session, where = accelerate(path, ort.SessionOptions(), "openvino-cpu", feed, {"y": expected})
    print(where, session.run(["y"], {"X": np.array([[5.0]], np.float32)})[0].tolist())
except NotAccelerated as reason:
    print("not", reason)
"""


@pytest.mark.e2e
class TestOpenvino:
    """The agent in an environment of its own, with Intel's build of ONNX Runtime."""

    @pytest.fixture(autouse=True)
    def environment(self) -> None:
        subprocess.run([CHECKOUT / "tests/streams/install", "../driftline_agent/openvino"], check=True)

    def look(self, tmp_path: Path, content: bytes, expected: str) -> str:
        (tmp_path / "model.onnx").write_bytes(content)
        return subprocess.run(
            [OPENVINO, "-c", LOOK, tmp_path / "model.onnx", expected],
            env={"PYTHONPATH": str(CHECKOUT / "platform")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def test_runs_a_model_with_all_its_nodes(self, tmp_path: Path) -> None:
        assert self.look(tmp_path, times(3), "[[6], [9]]") == "openvino-cpu, all nodes [[15.0]]"

    def test_is_not_used_for_trees_of_which_it_takes_no_node(self, tmp_path: Path) -> None:
        assert (
            self.look(tmp_path, linear_regressor(), "[[6], [9]]") == "not it takes none of the model's nodes"
        )

    def test_is_not_used_where_it_answers_other_numbers(self, tmp_path: Path) -> None:
        assert self.look(tmp_path, times(3), "[[6], [9.5]]") == "not y is 9 there and 9.5 on the CPU"

    def test_is_not_used_where_it_answers_another_shape(self, tmp_path: Path) -> None:
        assert self.look(tmp_path, times(3), "[6, 9]") == "not its output y has another shape there"

    def test_a_device_answers_with_it_and_the_server_hears_of_it(
        self, group: DeviceGroup, live_server: Any, tmp_path: Path
    ) -> None:
        release(group, "1")
        run_as = {"python": str(OPENVINO), "profile": "openvino-cpu"}
        with running_agents(group, live_server.url, tmp_path, 1, **run_as) as [agent]:
            agent.wait_for("1")
            answers = [agent.ask(x) for x in (1.0, 2.0)]
            wait_until(
                lambda: Device.objects.get().runs_on == WAITS_FOR_ROWS, what="the device says it waits"
            )
            assert all(agent.ask(float(x)) for x in range(SAMPLE_ROWS))
            wait_until(
                lambda: Device.objects.get().runs_on != WAITS_FOR_ROWS, what="the device says where it runs"
            )
            answers.append(agent.ask(3.0))

        assert [answer and answer["outputs"][0]["data"] for answer in answers] == [[1.0], [2.0], [3.0]]
        assert Device.objects.get().runs_on == "openvino-cpu, all nodes"
