"""Push a model of any of the common frameworks: convert it, check that it still answers alike, upload it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from driftline_client.credentials import access
from driftline_client.errors import DriftlineError
from driftline_client.sending.transport import ClientFactory, checked, making_model, unanswered

if TYPE_CHECKING:
    from driftline_client.conversion.converted import Converted
    from driftline_client.conversion.parity import Parity
    from driftline_client.conversion.table import Table

UPLOAD_SECONDS = 300.0


@dataclass(frozen=True)
class Pushed:
    """A version as Driftline took it; `parity` says how alike both models answer, `warnings` what to mend."""

    model: str
    version: str
    sha256: str
    is_new: bool
    parity: "Parity"
    warnings: list[str]


def push(
    name: str,
    model: Any,
    X: Any,
    *,
    features: Sequence[str] | None = None,
    classes: Sequence[Any] | None = None,
    positive_class: Any = None,
    missing: Mapping[str, str] | None = None,
    version: str | None = None,
    task: str | None = None,
    lineage: Mapping[str, Any] | None = None,
    tolerance: float = 1e-4,
    tolerated_share: float = 0.001,
    url: str | None = None,
    token: str | None = None,
) -> Pushed:
    """Convert a fitted model to ONNX, check it on the rows `X`, and upload it as a version of the model `name`.

    Takes scikit-learn estimators and pipelines, LightGBM's and XGBoost's estimators, PyTorch modules and Keras
    models. `X` is a DataFrame, whose columns become the features, or an array, whose columns `features` names.
    `classes` names the columns of a network's probabilities; scikit-learn's models know theirs. `missing` holds the
    text that stands for a missing string, by feature. With `task` the model is created where there is none.

    Raises DriftlineError where a converter cannot do it, where more than `tolerated_share` of the rows as given, with
    gaps, extremes or unseen categories differ by more than `tolerance` (of the spread, for numbers), and where
    Driftline refuses the upload. The token needs the scope `deploy`, and `write` to create the model.
    """
    from driftline_client.conversion.parity import check_parity
    from driftline_client.conversion.table import read_table

    table = read_table(X, list(features) if features is not None else None)
    converted = _convert(model, table, None if classes is None else [str(label) for label in classes])
    parity = check_parity(
        converted, table, tolerance=tolerance, tolerated_share=tolerated_share, missing=dict(missing or {})
    )
    told = {
        "trainer": f"{type(model).__module__}.{type(model).__qualname__}",
        "libraries": dict(converted.libraries),
        "parity": parity.described(),
    } | dict(lineage or {})
    metadata = _metadata(converted, table, positive_class, missing)
    with ClientFactory(*access(url, token), UPLOAD_SECONDS)() as client:
        answer = _upload(client, name, task, converted.onnx, metadata, told, version)
    body = answer.json()
    return Pushed(
        model=name,
        version=body["version"],
        sha256=body["sha256"],
        is_new=answer.status_code == 201,
        parity=parity,
        warnings=[*parity.warnings, *body["intake_report"]["warnings"]],
    )


def _convert(model: Any, table: "Table", classes: list[str] | None) -> "Converted":
    """Choose the converter by the framework that the model's class comes from."""
    from driftline_client.conversion import keras, scikit, torch

    families = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    if "torch" in families:
        return torch.convert(model, table, classes)
    if families & {"keras", "tensorflow", "tf_keras"}:
        return keras.convert(model, table, classes)
    if type(model).__name__ == "Booster":
        raise DriftlineError(
            "A bare Booster does not say what it predicts; push the LGBMClassifier, XGBClassifier or their regressors."
        )
    if "sklearn" in families:
        return scikit.convert(model, table)
    raise DriftlineError(
        f"{type(model).__module__}.{type(model).__qualname__} is no model of scikit-learn, LightGBM, XGBoost, PyTorch "
        "or Keras; convert it to ONNX yourself and upload the file (POST /api/v1/models/{name}/versions)."
    )


def _metadata(
    converted: "Converted", table: "Table", positive_class: Any, missing: Mapping[str, str] | None
) -> dict[str, Any]:
    outputs = {"prediction": converted.prediction, "probabilities": converted.probabilities}
    metadata: dict[str, Any] = {
        "features": [
            {"name": name, "type": kind} for name, kind in zip(table.names, table.types, strict=True)
        ],
        "outputs": {role: output for role, output in outputs.items() if output is not None},
    }
    if converted.classes is not None:
        metadata["classes"] = converted.classes
    if positive_class is not None:
        metadata["positive_class"] = str(positive_class)
    if missing:
        metadata["missing"] = dict(missing)
    return metadata


def _upload(
    client: httpx.Client,
    name: str,
    task: str | None,
    onnx: bytes,
    metadata: dict[str, Any],
    lineage: dict[str, Any],
    version: str | None,
) -> httpx.Response:
    parts = {"metadata": json.dumps(metadata), "lineage": json.dumps(lineage)}
    if version is not None:
        parts["version"] = version
    headers = {"Driftline-Sha256": hashlib.sha256(onnx).hexdigest()}
    path = f"/api/v1/models/{quote(name, safe='')}/versions"

    def send() -> httpx.Response:
        return client.post(path, data=parts, files={"file": ("model.onnx", onnx)}, headers=headers)

    try:
        answer = making_model(client, name, task, send)
    except httpx.TransportError as error:
        raise unanswered(error) from error
    if answer.status_code == 404:
        raise DriftlineError(
            f"There is no model {name!r} in this project; create it, or give its task to push().", 404
        )
    return checked(answer)
