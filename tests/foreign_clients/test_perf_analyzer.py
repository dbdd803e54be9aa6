"""Triton's load generator, against a running server: it compares each answer with what ONNX Runtime gives."""

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.foreign_clients.conftest import TOKEN, Platform

pytestmark = pytest.mark.e2e

REQUESTS = 300
RUNS, TIMEOUT_S = 3, 50
JSON = ["--input-tensor-format", "json", "--output-tensor-format", "json"]
PROTOCOLS: dict[str, tuple[str, list[str]]] = {
    "http-binary": ("http", []),
    "http-json": ("http", JSON),
    "grpc": ("grpc", []),
}


@pytest.fixture(scope="module")
def perf_analyzer(client_environment: Path) -> Path:
    """The program; its package has a build for Linux on x86-64 with glibc 2.38 alone."""
    program = client_environment / "bin/perf_analyzer"
    if not program.exists():
        pytest.skip("perf-analyzer has no wheel that installs on this machine: it wants glibc 2.38 on x86-64")
    return program


@pytest.mark.parametrize("protocol", PROTOCOLS)
class TestMeasuring:
    def test_finds_every_answer_as_onnx_runtime_gives_it(
        self, perf_analyzer: Path, platform: Platform, protocol: str, tmp_path: Path
    ) -> None:
        ended, row = measure(perf_analyzer, platform, protocol, tmp_path, expected(platform))

        assert "error" not in ended.stderr, ended.stderr
        assert f"Request count: {REQUESTS}" in ended.stdout
        assert float(row["Inferences/Second"]) > 0

    def test_would_find_a_wrong_one(
        self, perf_analyzer: Path, platform: Platform, protocol: str, tmp_path: Path
    ) -> None:
        wrong = expected(platform)
        wrong[-1]["probabilities"] = [0.5, 0.25]

        ended, _ = measure(perf_analyzer, platform, protocol, tmp_path, wrong)

        assert "Output doesn't match expected output" in ended.stderr


def expected(platform: Platform) -> list[dict[str, Any]]:
    """Give the answer to each question alone."""
    answers = platform.own_answers()["forest"]
    return [
        {"label": [label], "probabilities": probabilities}
        for label, probabilities in zip(
            answers["label"].tolist(), answers["probabilities"].tolist(), strict=True
        )
    ]


def measure(
    perf_analyzer: Path, platform: Platform, protocol: str, folder: Path, answers: list[dict[str, Any]]
) -> tuple["subprocess.CompletedProcess[str]", dict[str, str]]:
    """Run it with two requests under way; give what it said and the row of its report, if it wrote one."""
    name, options = PROTOCOLS[protocol]
    port = platform.server.port if name == "http" else platform.server.grpc_port
    given, report = folder / "input.json", folder / "report.csv"
    questions = [{"X": row} for row in platform.questions()["forest"]["X"].tolist()]
    given.write_text(json.dumps({"data": questions, "validation_data": answers}))
    command = [perf_analyzer, "-m", "forest", "-i", name, "-u", f"127.0.0.1:{port}", *options]
    command += ["-H", f"authorization: Bearer {TOKEN}", "--input-data", given, "-f", report]
    command += ["--concurrency-range", "2", "--request-count", str(REQUESTS)]
    ended = run_until_it_ends(command)
    rows = list(csv.DictReader(report.read_text().splitlines())) if report.exists() else []
    return ended, rows[0] if rows else {}


def run_until_it_ends(command: list[Any]) -> "subprocess.CompletedProcess[str]":
    """Run the program, which takes some seconds, and again if it hangs.

    In about one of several hundred runs, on a busy machine, it waits for ever for a request that it never sent. A
    server that leaves a request without an answer lets every run hang.
    """
    for _ in range(RUNS - 1):
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
