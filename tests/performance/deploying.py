"""Deploys the benches' ensemble of trees by the public API, and what a model may have beside its champion."""

import msgspec
import onnx

from driftline.demo.api_client import Api
from tests.performance.contenders import FEATURES, PATH

MODEL = PATH.split("/")[3]

_MODEL_PATH = f"/api/v1/models/{MODEL}"
_METADATA = {
    "features": [{"name": f"f{place}", "type": "float"} for place in range(FEATURES)],
    "outputs": {"prediction": "label", "probabilities": "probabilities"},
    "classes": ["0", "1"],
    "positive_class": "1",
}


def deploy(api: Api, *files: bytes) -> None:
    """Create the model with a version for each file; the first is the champion."""
    api.post("/api/v1/models", {"name": MODEL, "task": "binary"})
    for content in files:
        upload(api, content)


def upload(api: Api, content: bytes) -> None:
    """Upload another version."""
    api.upload(f"{_MODEL_PATH}/versions", content, metadata=msgspec.json.encode(_METADATA))


def set_shadows(api: Api, *versions: str) -> None:
    """Have these versions, and no others, answer in the shadow."""
    generation = api.get(f"{_MODEL_PATH}/deployment")["generation"]
    headers = {"Content-Type": "application/json", "If-Match": str(generation)}
    api.call("PATCH", f"{_MODEL_PATH}/deployment", msgspec.json.encode({"shadows": versions}), headers)


def declare_segment(api: Api) -> None:
    """Declare a segment with about half of the rows."""
    conditions = [{"feature": "f0", "lower": 0.0}]
    api.post(f"{_MODEL_PATH}/segments", {"name": "upper half", "conditions": conditions})


def with_other_bytes(model: bytes) -> bytes:
    """Return the same model as another file, because the same file is the same version."""
    copy = onnx.load_model_from_string(model)
    copy.doc_string = "the same once more"
    content: bytes = copy.SerializeToString()
    return content
