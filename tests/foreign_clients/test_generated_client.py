"""A client that a public generator makes of openapi.json, against a running server."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.driftline.api.conftest import caller
from tests.foreign_clients.conftest import PROGRAM_SECONDS, PROGRAMS
from tests.worlds.approvals import make_model, work

pytestmark = pytest.mark.e2e

CONFIGURATION = """
package_name_override: generated
post_hooks: []
content_type_overrides:
  text/csv: application/octet-stream
  application/vnd.apache.parquet: application/octet-stream
"""


def test_logs_a_prediction_and_reads_a_metric(
    live_server: Any, client_environment: Path, tmp_path: Path
) -> None:
    api = caller("ours")
    model = make_model(api.project)
    warnings = generate(client_environment, f"{live_server.url}/api/v1/openapi.json", tmp_path)

    def run(action: str) -> Any:
        program = [client_environment / "bin/python", PROGRAMS / "generated_client.py"]
        return json.loads(command(*program, tmp_path, live_server.url, api.text, action))

    logged = run("log")
    work(model)
    read = run("read")

    assert "will not be generated" not in warnings
    assert logged == {"accepted": 1, "results": ["first"]}
    assert read == {
        "points": [["2026-01-05T00:00:00+00:00", 1.0, 1]],
        "refused": ["invalid_parameter", "/metric"],
    }


def generate(environment: Path, url: str, folder: Path) -> str:
    """Generate the package `generated` in a folder; return what the generator said."""
    configuration = folder / "generator.yaml"
    configuration.write_text(CONFIGURATION)
    options = ["--config", configuration, "--output-path", folder / "generated", "--meta", "none"]
    return command(environment / "bin/openapi-python-client", "generate", "--url", url, *options)


def command(*words: str | Path) -> str:
    ended = subprocess.run(words, capture_output=True, text=True, timeout=PROGRAM_SECONDS)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
