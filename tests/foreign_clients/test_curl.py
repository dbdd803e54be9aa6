"""curl, as the documentation of TorchServe, TensorFlow Serving and MLflow calls them, against a running server."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.foreign_clients.conftest import TOKEN, Platform

pytestmark = pytest.mark.e2e


def curl(platform: Platform, *arguments: str | Path, path: str) -> Any:
    url = f"http://127.0.0.1:{platform.server.port}{path}"
    command = ["curl", "--silent", "--show-error", "--max-time", "60", *map(str, arguments), url]
    ended = subprocess.run(
        [*command, "-H", f"Authorization: Bearer {TOKEN}"], capture_output=True, check=True
    )
    return json.loads(ended.stdout)


@pytest.fixture
def rows(platform: Platform) -> list[list[float]]:
    values: list[list[float]] = platform.questions()["forest"]["X"].tolist()
    return values


@pytest.fixture
def rows_file(rows: list[list[float]], tmp_path: Path) -> Path:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    return file


def assert_is_own_answer(answer: list[dict[str, Any]], platform: Platform) -> None:
    assert [row["label"] for row in answer] == own_labels(platform)
    assert as_float32([row["probabilities"] for row in answer]) == own_probabilities(platform)


def own_labels(platform: Platform) -> list[int]:
    labels: list[int] = platform.own_answers()["forest"]["label"].tolist()
    return labels


def own_probabilities(platform: Platform) -> Any:
    return platform.own_answers()["forest"]["probabilities"].tolist()


def as_float32(values: Any) -> Any:
    return np.array(values, dtype=np.float32).tolist()


class TestTorchServe:
    def test_pings(self, platform: Platform) -> None:
        assert curl(platform, path="/ping") == {"status": "Healthy"}

    @pytest.mark.parametrize("path", ["/predictions/forest", "/predictions/forest/1"])
    def test_sends_a_file(self, platform: Platform, rows_file: Path, path: str) -> None:
        assert_is_own_answer(curl(platform, "-T", rows_file, path=path), platform)

    def test_posts_a_file(self, platform: Platform, rows_file: Path) -> None:
        posted = curl(platform, "-X", "POST", "-T", rows_file, path="/predictions/forest")

        assert_is_own_answer(posted, platform)

    @pytest.mark.parametrize("field", ["data=@{}", "data=<{}"])
    def test_sends_a_form(self, platform: Platform, rows_file: Path, field: str) -> None:
        answer = curl(platform, "-F", field.format(rows_file), path="/predictions/forest")

        assert_is_own_answer(answer, platform)

    def test_sends_the_envelope_of_kserve(self, platform: Platform, rows_file: Path) -> None:
        body = f'{{"instances": {rows_file.read_text()}}}'

        answer = curl(platform, "-d", body, path="/predictions/forest")

        assert_is_own_answer(answer["predictions"], platform)

    def test_is_told_what_is_not_there(self, platform: Platform, rows_file: Path) -> None:
        answer = curl(platform, "-T", rows_file, path="/predictions/unknown")

        assert answer == {
            "code": 404,
            "type": "ModelNotFoundException",
            "message": "There is no model 'unknown' in this project.",
        }


class TestTensorFlowServing:
    def test_asks_the_version_of_a_label(self, platform: Platform, rows: list[list[float]]) -> None:
        body = json.dumps({"instances": rows})

        answer = curl(platform, "-d", body, "-X", "POST", path="/v1/models/forest/labels/stable:predict")

        assert_is_own_answer(answer["predictions"], platform)

    def test_classifies(self, platform: Platform, rows: list[list[float]]) -> None:
        examples = [{f"f{place}": value for place, value in enumerate(row)} for row in rows]

        answer = curl(platform, "-d", json.dumps({"examples": examples}), path="/v1/models/forest:classify")

        results = answer["results"]
        assert [[label for label, _ in row] for row in results] == [["0", "1"]] * len(rows)
        assert as_float32([[score for _, score in row] for row in results]) == own_probabilities(platform)

    def test_regresses(self, platform: Platform) -> None:
        numbers = [1.0, 2.0, -0.1, 1e30]
        examples = [{"x": number} for number in numbers]
        body = json.dumps({"signature_name": "tensorflow/serving/regress", "examples": examples})

        answer = curl(platform, "-d", body, "-X", "POST", path="/v1/models/half_plus_three:regress")

        session = onnxruntime.InferenceSession(platform.models["half_plus_three"])
        [own] = session.run(None, {"X": np.array([numbers], np.float32).T})
        assert as_float32(answer["results"]) == own.ravel().tolist()
        assert answer["results"][:2] == [3.5, 4.0]  # as TensorFlow Serving's documentation has it

    def test_lists_the_models(self, platform: Platform) -> None:
        assert curl(platform, path="/v1/models") == {"models": ["identity", "forest", "half_plus_three"]}


class TestMlflow:
    def test_sends_csv(self, platform: Platform, rows: list[list[float]]) -> None:
        csv = "f0,f1,f2,f3\n" + "".join(",".join(map(repr, row)) + "\n" for row in rows)

        answer = curl(
            platform, "-H", "Content-Type: text/csv", "--data-binary", csv, path="/invocations/forest"
        )

        assert_is_own_answer(answer["predictions"], platform)

    def test_sends_a_table(self, platform: Platform, rows: list[list[float]]) -> None:
        body = json.dumps({"dataframe_split": {"columns": ["f0", "f1", "f2", "f3"], "data": rows}})

        answer = curl(
            platform, "-H", "Content-Type: application/json", "--data", body, path="/invocations/forest"
        )

        assert_is_own_answer(answer["predictions"], platform)
