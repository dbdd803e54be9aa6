"""What protoc wrote is what it would write today."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    subprocess.run([CHECKOUT / ".ci/protocol", folder], check=True)
    return folder


@pytest.mark.parametrize("ending", ["py", "pyi"])
@pytest.mark.parametrize("service", ["inference_service", "prediction_service"])
def test_follows_from_the_proto_file(generated: Path, service: str, ending: str) -> None:
    path = f"inference/protocol/{service}_pb2.{ending}"

    assert (CHECKOUT / path).read_text() == (generated / path).read_text(), "run `make protocol`"
