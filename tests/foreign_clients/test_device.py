"""A program of a device asks its agent through `tritonclient`, with an image as bytes."""

import json
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from driftline_agent.http_server import LoopbackServer
from driftline_agent.serving import Dataplane
from tests.driftline_agent.device import PlayedDevice
from tests.foreign_clients.conftest import PROGRAM_SECONDS, PROGRAMS
from tests.inference.onnx_models import embedding_model, embedding_signature

pytestmark = pytest.mark.e2e


def test_is_answered_with_what_the_model_makes_of_its_image(client_environment: Path, tmp_path: Path) -> None:
    device = PlayedDevice(tmp_path)
    device.server.offer(embedding_model(), "1", signature=embedding_signature())
    device.updater.poll()
    server = LoopbackServer(0, Dataplane(device.in_use, None, "truck"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        command = [client_environment / "bin/python", PROGRAMS / "device_client.py", str(server.server_port)]
        found = json.loads(subprocess.check_output(command, timeout=PROGRAM_SECONDS))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

    assert (found["live"], found["extensions"]) == (True, ["binary_tensor_data"])
    assert found["embedding"] == found["images"]
    np.testing.assert_allclose(found["sum"], np.sum(found["images"], axis=1, keepdims=True), rtol=1e-6)
