"""A client of TensorFlow Serving, over HTTP and gRPC, against a running server."""

from pathlib import Path
from typing import Any

import pytest

from tests.foreign_clients.conftest import FEATURES, Platform, Report, differences, run_program

pytestmark = pytest.mark.e2e

CLIENTS = ["rest", "grpc"]


@pytest.fixture(scope="module")
def report(platform: Platform, client_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return run_program("ovms_client.py", client_environment, platform, tmp_path_factory.mktemp("ovms"))


@pytest.mark.parametrize("client", CLIENTS)
def test_receives_what_onnx_runtime_answers_in_every_datatype(
    client: str, report: Report, platform: Platform
) -> None:
    # With numpy.array, by which the client reads JSON, whole numbers beyond 2**63 become floats.
    lost_by_the_client = ["identity/same_uint64"] if client == "rest" else []

    assert differences(report, client, platform) == lost_by_the_client


@pytest.mark.parametrize("client", CLIENTS)
class TestLookingAround:
    def test_finds_the_version_available(self, client: str, report: Report) -> None:
        assert report.findings[client]["status"] == {
            "1": {"state": "AVAILABLE", "error_code": 0, "error_message": ""}
        }

    def test_reads_the_metadata(self, client: str, report: Report) -> None:
        assert described(report.findings[client]["metadata"]) == {
            "version": 1,
            "X": ("DT_FLOAT", [-1, FEATURES]),
            "label": ("DT_INT64", [-1]),
            "probabilities": ("DT_FLOAT", [-1, 2]),
        }

    def test_is_answered_by_the_version_that_it_names(
        self, client: str, report: Report, platform: Platform
    ) -> None:
        assert report.findings[client]["version"] == platform.own_answers()["forest"]["label"].tolist()

    @pytest.mark.parametrize("asked", ["unknown", "unknown_version"])
    def test_knows_what_is_not_there(self, client: str, asked: str, report: Report) -> None:
        assert report.findings[client][asked][0] == "ModelNotFoundError"

    def test_is_told_in_a_sentence_what_it_did_wrong(self, client: str, report: Report) -> None:
        kind, sentence = report.findings[client]["wrong"]

        assert kind == "InvalidInputError"
        assert "has no input 'Y'" in sentence
        assert "The token is missing" in report.findings[client]["anonymous"][1]


def described(metadata: dict[str, Any]) -> dict[str, Any]:
    """Bring metadata into one form: over HTTP the client hands on what TensorFlow Serving answers, as it is."""
    if "metadata" not in metadata:
        tensors = {**metadata["inputs"], **metadata["outputs"]}
        found = {name: (tensor["dtype"], tensor["shape"]) for name, tensor in tensors.items()}
        return {"version": metadata["model_version"], **found}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    return {
        "version": int(metadata["model_spec"]["version"]),
        **{
            name: (tensor["dtype"], [int(dim["size"]) for dim in tensor["tensor_shape"]["dim"]])
            for name, tensor in {**signature["inputs"], **signature["outputs"]}.items()
        },
    }
