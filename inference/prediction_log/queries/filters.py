"""Which predictions somebody wants to see, read from the parameters of a query."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from driftline.base.http.request_values import bounds, refuse_parameter
from driftline.base.strict_json import printable
from inference.prediction_log.models import PredictionRole
from inference.prediction_log.rows.sent_items import NUMERIC_TASKS
from inference.registry.models import Model, Version
from inference.registry.selectors import get_version

ANSWERED = (PredictionRole.CHAMPION, PredictionRole.CANARY, PredictionRole.DIRECT)
NAMES = ("from", "to", "version", "role", "segment", "labelled", "correct", "score_min", "score_max")
_SAID = {"true": True, "false": False}


@dataclass(frozen=True)
class Filter:
    """Predictions of one model, of `[start, end)` in event time; None and empty leave everything in.

    Without a role they are those that answered somebody, without the shadows' copies. `segment` is a feature and the
    text of its value, empty for missing. The score is the probability of the positive class, of the likeliest of
    several classes, or the predicted number itself.
    """

    model: Model
    start: datetime | None = None
    end: datetime | None = None
    version: Version | None = None
    role: str = ""
    segment: tuple[str, str] | None = None
    is_labelled: bool | None = None
    is_correct: bool | None = None
    score_min: float | None = None
    score_max: float | None = None

    @property
    def roles(self) -> tuple[str, ...]:
        return (self.role,) if self.role else ANSWERED

    @property
    def needs_score(self) -> bool:
        return self.score_min is not None or self.score_max is not None

    @property
    def needs_labels(self) -> bool:
        return self.is_labelled is not None or self.is_correct is not None


def filter_of(model: Model, given: Mapping[str, str], *, now: datetime) -> Filter:
    """Read the parameters named in `NAMES`; raises Problem for a value that means nothing."""
    for name in NAMES:
        if "\x00" in given.get(name, ""):
            raise refuse_parameter(name, f"{name} must hold no NUL.")
    start, end = bounds(given.get("from", ""), given.get("to", ""), now=now)
    is_correct = _truth(given, "correct")
    if is_correct is not None and model.task in NUMERIC_TASKS:
        raise refuse_parameter("correct", f"A {model.task} answers numbers, which are not right or wrong.")
    return Filter(
        model,
        start,
        end,
        get_version(model=model, version=given["version"]) if given.get("version") else None,
        _role(given.get("role", "")),
        _segment(given.get("segment", "")),
        _truth(given, "labelled"),
        is_correct,
        _score(given, "score_min"),
        _score(given, "score_max"),
    )


def _role(text: str) -> str:
    if text and text not in PredictionRole.values:
        raise refuse_parameter(
            "role", f"role is '{printable(text)}'; use one of {', '.join(PredictionRole.values)}."
        )
    return text


def _segment(text: str) -> tuple[str, str] | None:
    feature, mark, value = text.partition(":")
    if text and not (feature and mark):
        raise refuse_parameter("segment", f"segment is '{printable(text)}'; use feature:value.")
    return (feature, value) if text else None


def _truth(given: Mapping[str, str], name: str) -> bool | None:
    text = given.get(name, "")
    if text and text not in _SAID:
        raise refuse_parameter(name, f"{name} is '{printable(text)}'; use true or false.")
    return _SAID.get(text)


def _score(given: Mapping[str, str], name: str) -> float | None:
    text = given.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise refuse_parameter(name, f"{name} is '{printable(text)}'; use a number.")
    return value
