"""What the shipped trainers can be given, as JSON Schema: one for each, read by the trainer, its form and the API."""

import re
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
_TYPES = {"integer": int, "number": int | float, "string": str}


def _whole(title: str, default: int, least: int, most: int) -> dict[str, Any]:
    return {"type": "integer", "title": title, "default": default, "minimum": least, "maximum": most}


def _number(title: str, default: float, least: float, most: float, description: str = "") -> dict[str, Any]:
    return {
        "type": "number", "title": title, "default": default, "minimum": least, "maximum": most,
        "description": description,
    }  # fmt: skip


def _schema(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


_TREES = _whole("Trees", 80, 1, 10_000)
_TREE_ROWS = _whole("Rows that a tree learns from, at most", 20_000, 1, 10_000_000)
_SHARE = (0.01, 1.0)

SCHEMAS: Mapping[str, Schema] = {
    "sklearn_random_forest": _schema(
        trees=_TREES,
        min_leaf=_whole("Rows of a leaf, at least", 40, 1, 1_000_000),
        max_depth=_whole("Levels of a tree, at most", 14, 1, 100),
        tree_rows=_TREE_ROWS,
        max_features={
            "type": ["string", "number"],
            "pattern": "^(sqrt|log2)$",
            "minimum": 1e-6,
            "maximum": 1_000_000,
            "title": "Features that a split tries",
            "default": "sqrt",
            "description": "sqrt, log2, a number of features, or a share of them such as 0.5.",
        },
    ),
    "sklearn_gradient_boosting": _schema(
        trees=_TREES,
        min_leaf=_whole("Rows of a leaf, at least", 40, 1, 1_000_000),
        max_depth=_whole("Levels of a tree, at most", 4, 1, 100),
        tree_rows=_TREE_ROWS,
        learning_rate=_number("Learning rate", 0.1, 1e-6, 10.0),
    ),
    "sklearn_logistic_regression": _schema(
        penalty=_number("Penalty", 1.0, 1e-9, 1e9, "The larger, the smaller the weights."),
    ),
    "lightgbm": _schema(
        trees=_TREES,
        min_leaf=_whole("Rows of a leaf, at least", 50, 1, 1_000_000),
        leaves=_whole("Leaves of a tree, at most", 31, 2, 100_000),
        learning_rate=_number("Learning rate", 0.05, 1e-6, 10.0),
        feature_share=_number("Share of the features that a tree sees", 1.0, *_SHARE),
        row_share=_number("Share of the rows that a tree sees", 1.0, *_SHARE),
        penalty=_number("Penalty of squared leaves", 0.0, 0.0, 1e9),
    ),
}
"""By the trainer's name. What another package offers takes what it takes: nothing of it is imported here."""


def find_faults(trainer: str, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with a trainer's parameters, by their names; of trainers without a schema nothing is."""
    if trainer not in SCHEMAS:
        return {}
    known = SCHEMAS[trainer]["properties"]
    faults = {
        name: f"{trainer} has no parameter {name[:64]!r}; use some of {', '.join(known)}."
        for name in parameters
        if name not in known
    }
    for name in parameters.keys() & known.keys():
        if fault := _fault_of(name, parameters[name], known[name]):
            faults[name] = fault
    return faults


def _fault_of(name: str, value: Any, schema: Schema) -> str:
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        return f"{name} is {value[:64]!r}; use {schema['description'].removesuffix('.')}."
    is_right = not isinstance(value, bool) and any(isinstance(value, _TYPES[kind]) for kind in kinds)
    least, most = schema.get("minimum"), schema.get("maximum")
    if is_right and (isinstance(value, str) or least is None or least <= value <= most):
        return ""
    wanted = "a whole number" if kinds == ["integer"] else " or ".join(f"a {kind}" for kind in kinds)
    span = "" if least is None else f" from {least:,} to {most:,}"
    return f"{name} is {str(value)[:64]!r}; use {wanted}{span}."
