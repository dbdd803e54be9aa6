"""What a user's pipeline does for an order, with nothing of Driftline; each kind of pipeline imports it."""

import hashlib
import io
import os
import time
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

TENSORS = {"FP32": FloatTensorType, "BYTES": StringTensorType}


def wait_while_held() -> None:
    """Say which process trains, and wait while a test wants that to last."""
    while Path("hold").exists():
        Path("held.pid").write_text(str(os.getpid()))
        time.sleep(0.1)


def fetch(order: dict[str, Any]) -> pd.DataFrame:
    """Download the snapshot, and check that it came whole."""
    content = _call(order["snapshot"]["url"], order["callback"]["token"])
    assert hashlib.sha256(content).hexdigest() == order["snapshot"]["sha256"]
    return pd.read_parquet(io.BytesIO(content))


def train(rows: pd.DataFrame, job: dict[str, Any]) -> bytes:
    """Fit a model, and export it with the champion's inputs."""
    texts = [feature["name"] for feature in job["features"] if feature["type"] == "string"]
    numbers = [feature["name"] for feature in job["features"] if feature["type"] != "string"]
    rows = rows.assign(**{name: rows[name].fillna(job["missing"].get(name, "missing")) for name in texts})
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), texts), remainder="passthrough", sparse_threshold=0
    )
    model = make_pipeline(encode, LogisticRegression()).fit(rows[texts + numbers], rows["label"])
    inputs = [(spec["name"], TENSORS[spec["datatype"]]([None, 1])) for spec in job["layout"]["inputs"]]
    content: bytes = to_onnx(model, initial_types=inputs, options={"zipmap": False}).SerializeToString()
    return content


def send(onnx: bytes, order: dict[str, Any]) -> None:
    """Send the model back."""
    _call(order["callback"]["artifact"], order["callback"]["token"], onnx)


def _call(url: str, token: str, body: bytes | None = None) -> bytes:
    headers = {"Authorization": f"Bearer {token}"}
    if body is not None:
        headers["Content-Type"] = "application/octet-stream"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        content: bytes = answer.read()
    return content
