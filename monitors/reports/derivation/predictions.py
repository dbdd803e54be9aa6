"""Derives a prediction again: runs its version's file on the features that the log holds."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from inference.prediction_log.queries.selectors import prediction
from inference.prediction_log.schemas import LoggedRow
from inference.registry.files.artifacts import ArtifactDamaged, verify
from inference.registry.models import Model, Version
from inference.registry.selectors import signature_of
from inference.registry.trials import ask_original
from inference.registry.trials.orders import pack
from inference.runtime.feeds import feed_of
from inference.signatures import Signature
from monitors.reports.derivation.result import Derivation, cannot, compare, unless_unreadable

_ANOTHER_RUNTIME = "another machine or release of ONNX Runtime, or a file that does not answer alike twice"


class NoSuchPrediction(Exception):
    """The log has no row of this id, or does not keep it any more."""


def derive_prediction(model: Model, prediction_id: str) -> Iterator[Derivation]:
    """Answer a logged prediction again, and its shadows' copies. Raises NoSuchPrediction."""
    yield from unless_unreadable(f"prediction {prediction_id}", _derive_rows(model, prediction_id))


def _derive_rows(model: Model, prediction_id: str) -> Iterator[Derivation]:
    logged = prediction(model=model, prediction_id=prediction_id)
    if logged is None:
        raise NoSuchPrediction(prediction_id)
    for row in (logged, *logged["shadows"]):
        what = f"{row['role']} answer of version {row['version']}"
        yield from unless_unreadable(what, _derive_row(model, row, what))


def _derive_row(model: Model, row: LoggedRow, what: str) -> Iterator[Derivation]:
    version = model.versions.get(version=row["version"])
    if not version.has_artifact:
        yield cannot(what, "another server answered it, and Driftline has no file of that version.")
        return
    signature = signature_of(version)
    if not signature.features:
        yield cannot(what, "its input has no columns, as an image has none, so the log does not hold it.")
        return
    lacking = [
        one.name for one in signature.features if one.name not in row["features"] or one.name in model.privacy
    ]
    if lacking:
        yield cannot(what, f"the log does not hold what was sent as {', '.join(sorted(lacking)[:8])}.")
        return
    try:
        answer = _run(version, signature, row["features"])
    except ArtifactDamaged as error:
        yield cannot(what, str(error))
        return
    if isinstance(answer, str):
        yield cannot(what, answer)
        return
    for name, derived in answer.items():
        yield compare(f"{name}, {what}", row[name], derived, _ANOTHER_RUNTIME)  # type: ignore[literal-required]


def _run(version: Version, signature: Signature, features: Mapping[str, Any]) -> dict[str, Any] | str:
    """Run the file on one row, behind the intake's walls; returns `prediction` and `probability`, those that its
    signature has, or a sentence why there is no answer. Raises ArtifactDamaged."""
    path = verify(settings.HOME, version.sha256)
    columns = {one.name: _column(features[one.name], one.type) for one in signature.features}
    names = [name for name in (signature.prediction_output, signature.probabilities_output) if name]
    rows = {name: pack(values) for name, values in feed_of(signature, columns).items()}
    outputs = ask_original(path, rows, names)
    if isinstance(outputs, str):
        return outputs
    answer: dict[str, Any] = {}
    if signature.prediction_output:
        value = outputs[signature.prediction_output].reshape(-1)[0]
        answer["prediction"] = float(value) if signature.task in ("regression", "ranking") else _text(value)
    if signature.probabilities_output:
        answer["probability"] = _probability(outputs[signature.probabilities_output], signature)
    return answer


def _column(value: Any, kind: str) -> NDArray[Any]:
    if kind == "string":
        return np.array([value], object)
    return np.array([np.nan if value is None else float(value)])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _probability(matrix: NDArray[Any], signature: Signature) -> float | list[float]:
    row = matrix.reshape(1, -1)[0].astype(float)
    if signature.positive_class is None:
        return [float(one) for one in row]
    return float(row[0] if row.size == 1 else row[signature.classes.index(signature.positive_class)])
