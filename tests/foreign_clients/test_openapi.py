"""The protocol's own OpenAPI file through Schemathesis, against a running server.

`open_inference_rest.yaml` is the file that kserve/open-inference-protocol publishes, under its Apache-2.0 licence.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.foreign_clients.conftest import TOKEN, Platform

pytestmark = pytest.mark.e2e

PUBLISHED = Path(__file__).with_name("open_inference_rest.yaml")
INFER = "/v2/models/{MODEL_NAME}/versions/{MODEL_VERSION}/infer"
CONFIGURATION = """
[parameters]
"path.MODEL_NAME" = "forest"
"path.MODEL_VERSION" = "1"
"""
EXAMPLES = 60  # generated for each operation


def test_answers_as_the_protocol_s_own_file_says_whatever_it_is_sent(
    platform: Platform, client_environment: Path, tmp_path: Path
) -> None:
    ended, answers = run_schemathesis(platform, client_environment, tmp_path)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Selected: 6/6" in ended.stdout
    assert "Tested: 6" in ended.stdout
    infer = [status for method, path, status in answers if method == "POST" and path.endswith("/infer")]
    assert 200 in infer, "no request reached the model"
    assert 400 in infer, "nothing wrong was sent"
    assert {status for method, _, status in answers if method == "GET"} >= {200}
    assert max(status for _, _, status in answers) < 500


def run_schemathesis(
    platform: Platform, environment: Path, folder: Path
) -> tuple["subprocess.CompletedProcess[str]", list[tuple[str, str, int]]]:
    """Send right and wrong data; give what was found, and method, path and status of each answer.

    That right data is accepted is not asked of those made up: no schema says what a model takes.
    """
    configuration, description, archive = (
        folder / name for name in ("schemathesis.toml", "openapi.json", "requests.har")
    )
    configuration.write_text(CONFIGURATION)
    description.write_text(json.dumps(described(platform)))
    command = [environment / "bin/schemathesis", "--config-file", configuration, "run", description]
    command += ["--url", f"http://127.0.0.1:{platform.server.port}", "-H", f"Authorization: Bearer {TOKEN}"]
    command += ["--mode", "all", "--exclude-checks", "positive_data_acceptance", "--continue-on-failure"]
    command += ["--max-examples", str(EXAMPLES), "--generation-database", "none", "--no-color"]
    command += ["--report-har-path", archive]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    entries = json.loads(archive.read_text())["log"]["entries"]
    return ended, [
        (entry["request"]["method"], entry["request"]["url"], entry["response"]["status"])
        for entry in entries
    ]


def described(platform: Platform) -> dict[str, Any]:
    """Read the file as it is published, with a request that the model can answer, and without its stray `$`.

    What a request may leave out may also be null, which it does not say: clients made of pydantic models send that.
    """
    document: dict[str, Any] = yaml.safe_load(PUBLISHED.read_text().replace("${", "{"))
    rows = platform.questions()["forest"]["X"]
    tensor = {"name": "X", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    body = document["paths"][INFER]["post"]["requestBody"]["content"]["application/json"]
    body["example"] = {"id": "mine", "inputs": [tensor], "outputs": [{"name": "probabilities"}]}
    schemas = document["components"]["schemas"]
    for name in ("inference_request", "request_input", "request_output"):
        optional = schemas[name]["properties"].keys() - schemas[name]["required"]
        for key, schema in schemas[name]["properties"].items():
            if key in optional:
                schemas[name]["properties"][key] = {"allOf": [schema], "nullable": True}
    return document
