"""LightGBM and XGBoost models inside scikit-learn's converter, with thresholds that survive the way to float32."""

import re
from copy import copy
from typing import Any

import numpy as np

from driftline_client.conversion.needs import needed

_CLASSIFIER_OPTIONS = {"zipmap": [True, False], "nocl": [True, False]}


def register_lightgbm(estimator: type) -> None:
    """Teach skl2onnx to convert this subclass of LGBMClassifier or LGBMRegressor."""
    is_classifier = issubclass(estimator, needed("lightgbm").LGBMClassifier)
    options: dict[str, Any] = {"split": None}
    if is_classifier:  # CalibratedClassifierCV learns from `decision_function`, where the classifier has one
        raw_scores = {"raw_scores": [True, False]} if hasattr(estimator, "decision_function") else {}
        options = _CLASSIFIER_OPTIONS | raw_scores
    _register(estimator, _convert_lightgbm, options, is_classifier)


def _convert_lightgbm(scope: Any, operator: Any, container: Any) -> None:
    """Convert as onnxmltools does, but to the sums of the leaves where the model around it asks for raw scores."""
    needed("onnxmltools.convert.lightgbm.operator_converters.LightGbm").convert_lightgbm(
        scope, operator, container
    )
    options = container.get_options(operator.raw_operator, fail=False) or {}
    if options.get("raw_scores"):
        trees = [node for node in container.nodes if node.op_type == "TreeEnsembleClassifier"][-1]
        [link] = [attribute for attribute in trees.attribute if attribute.name == "post_transform"]
        link.s = b"NONE"


def register_xgboost(estimator: type) -> None:
    """Teach skl2onnx to convert this subclass of XGBClassifier or XGBRegressor."""
    convert = needed("onnxmltools.convert.xgboost.operator_converters.XGBoost").convert_xgboost
    is_classifier = issubclass(estimator, needed("xgboost").XGBClassifier)
    _register(estimator, convert, _CLASSIFIER_OPTIONS if is_classifier else {}, is_classifier)


def _register(estimator: type, convert: Any, options: dict[str, Any], is_classifier: bool) -> None:
    shapes = needed("skl2onnx.common.shape_calculator")
    needed("skl2onnx").update_registered_converter(
        estimator,
        f"Driftline{estimator.__name__}",
        shapes.calculate_linear_classifier_output_shapes
        if is_classifier
        else shapes.calculate_linear_regressor_output_shapes,
        convert,
        options=options or None,
        overwrite=True,
    )


def with_float32_thresholds(model: Any) -> Any:
    """Return a copy of a fitted LGBMClassifier or LGBMRegressor whose thresholds are float32."""
    rounded = copy(model)
    text = round_thresholds_down(model.booster_.model_to_string())
    rounded._Booster = needed("lightgbm").Booster(model_str=text)
    return rounded


def round_thresholds_down(booster_text: str) -> str:
    """Replace each threshold of LightGBM's model text by the largest float32 not above it.

    For float32 `x`, `x <= t` and `x <= float32_down(t)` are the same test, so no prediction changes. ONNX
    keeps thresholds as float32; rounded to nearest, some rows would go the other way. The line with each
    tree's length in bytes no longer holds and is left out: LightGBM then reads tree after tree.

    >>> round_thresholds_down("threshold=0.1 2")
    'threshold=0.09999999403953552 2.0'
    """
    unsized = re.sub(r"^tree_sizes=.*\n", "", booster_text, flags=re.MULTILINE)
    return re.sub(r"^threshold=(.*)$", _round_line, unsized, flags=re.MULTILINE)


def _round_line(line: re.Match[str]) -> str:
    exact = np.array(line[1].split(), np.float64)
    nearest = exact.astype(np.float32)
    down = np.where(nearest > exact, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    return "threshold=" + " ".join(repr(float(value)) for value in down)
