"""scikit-learn estimators and pipelines, with LightGBM's and XGBoost's inside them, through skl2onnx."""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

from driftline_client.conversion.boosting import (
    register_lightgbm,
    register_xgboost,
    with_float32_thresholds,
)
from driftline_client.conversion.converted import Converted
from driftline_client.conversion.needs import needed, versions_of
from driftline_client.conversion.table import TABLE, Table
from driftline_client.errors import DriftlineError

OPSET = {"": 18, "ai.onnx.ml": 3}
_LIGHTGBM = {"LGBMClassifier", "LGBMRegressor"}
_XGBOOST = {"XGBClassifier", "XGBRegressor"}
_NEVER = {
    "HistGradientBoostingClassifier": "use LGBMClassifier or GradientBoostingClassifier",
    "HistGradientBoostingRegressor": "use LGBMRegressor or GradientBoostingRegressor",
    "TargetEncoder": "use OrdinalEncoder or OneHotEncoder",
}


def convert(model: Any, table: Table) -> Converted:
    """Convert a fitted estimator or pipeline; raises DriftlineError for what skl2onnx cannot."""
    _refuse_known_failures(model)
    is_classifier = _answers_classes(model)
    by_column = _takes_columns_by_name(model)
    if table.has_text and not by_column and not all(kind == "string" for kind in table.types):
        raise DriftlineError(
            "X has texts beside numbers and the model does not choose its columns by name; put a ColumnTransformer at "
            "the head of the pipeline."
        )
    kinds = ["string" if kind == "string" else "float" for kind in table.types]
    inputs = (
        [(name, kind, 1) for name, kind in zip(table.names, kinds, strict=True)]
        if by_column
        else [(TABLE, kinds[0], len(kinds))]
    )
    answer = model.predict_proba if is_classifier else model.predict
    return Converted(
        onnx=to_onnx(model, inputs, is_classifier=is_classifier),
        predict=lambda table: answer(table.rows),
        tensors=(lambda table: table.tensors()) if by_column else (lambda table: {TABLE: table.tensor()}),
        prediction="label" if is_classifier else "variable",
        probabilities="probabilities" if is_classifier else None,
        libraries=versions_of("scikit-learn", "lightgbm", "xgboost", "skl2onnx", "onnxmltools", "onnx"),
    )


def _answers_classes(model: Any) -> bool:
    """Distinguish a classifier from a regressor; raises DriftlineError for anything else."""
    base = needed("sklearn.base")
    if base.is_regressor(model):
        return False
    if not base.is_classifier(model):
        raise DriftlineError(
            f"{type(model).__name__} is neither a classifier nor a regressor; push a model that predicts."
        )
    if not hasattr(model, "predict_proba"):
        raise DriftlineError(
            f"{type(model).__name__} gives no probabilities, which drift and accuracy are judged by; wrap it in "
            "CalibratedClassifierCV."
        )
    return True


def to_onnx(model: Any, inputs: Sequence[tuple[str, str, int]], *, is_classifier: bool) -> bytes:
    """Convert a fitted estimator or pipeline that takes `inputs`: name, `float` or `string`, and width of each."""
    types = needed("skl2onnx.common.data_types")
    kinds = {"float": types.FloatTensorType, "string": types.StringTensorType}
    _register_boosted_trees(model)
    prepared = _prepared(model)
    try:
        converted = needed("skl2onnx").convert_sklearn(
            prepared,
            name="model",
            initial_types=[(name, kinds[kind]([None, width])) for name, kind, width in inputs],
            options={id(prepared): {"zipmap": False}} if is_classifier else None,
            target_opset=OPSET,
        )
    except DriftlineError:
        raise
    except Exception as error:  # skl2onnx raises many kinds, each with the step's name
        raise DriftlineError(
            f"skl2onnx cannot convert {type(model).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
    content: bytes = converted.SerializeToString()
    return content


def _register_boosted_trees(model: Any) -> None:
    for part in _parts(model):
        families = _families(part)
        if families & _LIGHTGBM:
            register_lightgbm(type(part))
        elif families & _XGBOOST:
            register_xgboost(type(part))


def _families(model: Any) -> set[str]:
    return {base.__name__ for base in type(model).__mro__}


def _prepared(model: Any) -> Any:
    """Return a copy whose LightGBM thresholds are float32, where the model is one or a pipeline's step is."""
    if hasattr(model, "steps"):
        pipeline = copy(model)
        pipeline.steps = [(name, _prepared(step)) for name, step in model.steps]
        return pipeline
    return with_float32_thresholds(model) if _families(model) & _LIGHTGBM else model


def _refuse_known_failures(model: Any) -> None:
    for part in _parts(model):
        name = type(part).__name__
        if name in _NEVER:
            raise DriftlineError(f"{name} does not convert to ONNX today; {_NEVER[name]}.")
        if getattr(part, "handle_unknown", None) == "infrequent_if_exist":
            raise DriftlineError(
                f"{name}(handle_unknown='infrequent_if_exist') fails in ONNX on an unseen category; use 'ignore'."
            )


def _takes_columns_by_name(model: Any) -> bool:
    return any(type(part).__name__ == "ColumnTransformer" and _names_columns(part) for part in _parts(model))


def _names_columns(transformer: Any) -> bool:
    return any(
        isinstance(columns, str)
        or (isinstance(columns, Sequence) and any(isinstance(c, str) for c in columns))
        for _, _, columns in transformer.transformers
    )


def _parts(model: Any) -> Iterator[Any]:
    """Walk through the estimators inside a model: steps of pipelines, parts of column transformers, wrapped ones."""
    yield model
    for attribute in ("steps", "transformers_", "estimators_"):
        for entry in _entries(getattr(model, attribute, None)):
            yield from _parts(entry)
    for attribute in ("estimator_", "best_estimator_", "final_estimator_", "estimator", "regressor_"):
        inner = getattr(model, attribute, None)
        if inner is not None and hasattr(inner, "get_params"):
            yield from _parts(inner)


def _entries(listed: Any) -> list[Any]:
    if not isinstance(listed, list | tuple):
        return []
    inner = [entry[1] if isinstance(entry, tuple) else entry for entry in listed]
    return [entry for entry in inner if hasattr(entry, "get_params")]
