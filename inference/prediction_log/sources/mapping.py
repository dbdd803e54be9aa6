"""What of a message becomes what of a row: the mapping that people edit, and how it is applied to JSON."""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from driftline.base.http.bodies import Body
from driftline.base.periods import from_us, rfc3339
from inference.prediction_log.rows.sent_items import MAX_FEATURES, MAX_TAGS
from inference.prediction_log.sources.reading.messages import TOPIC_HEADER, StreamMessage

type Path = Annotated[str, Field(max_length=200)]
type Name = Annotated[str, Field(min_length=1, max_length=100)]

GUESSES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "prediction_id", "request_id", "$key"),
    "timestamp": ("timestamp", "event_time", "time", "ts", "$time"),
    "version": ("version", "model_version"),
    "features": ("features", "inputs"),
    "prediction": ("prediction", "predicted", "output"),
    "probabilities": ("probabilities", "probability", "score"),
    "latency_ms": ("latency_ms",),
    "role": ("role",),
    "subject": ("subject",),
    "label": ("label", "target", "actual", "outcome"),
}
"""Where a field is looked for that has no path: the first place that a message has."""

_PREDICTION = ("id", "timestamp", "version", "prediction", "probabilities", "latency_ms", "role", "subject")
_LABEL = ("id", "label", "timestamp")
_MAX_FLOAT_BITS = 1_023
_NAMES_OF_ROWS = ("id", "subject")
_TEXTS = (*_NAMES_OF_ROWS, "version")
_NUMBERS = ("timestamp", "prediction", "probabilities", "latency_ms", "label")
_NUMBER = re.compile(
    r"-?((0|[1-9]\d{0,17})(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?", re.ASCII
)  # some databases write .5
_BOOLEANS = {"true": True, "false": False}


class SourceMapping(Body):
    """How a message is read. A path is dotted, such as `data.customer.id`; `$key`, `$time`, `$topic` and `$position`
    are the message's own. A field without a path is looked for under its usual names."""

    envelope: Literal["json", "log", "kserve", "v2"] = Field(
        default="json",
        description="json: any JSON object, read by the paths; log: items of the logging API as they are; kserve: "
        "CloudEvents of KServe's logger; v2: requests and responses of the Open Inference Protocol, as MLServer and "
        "Seldon write them",
    )
    id: Path = ""
    timestamp: Path = Field(
        default="", description="RFC 3339, or a number of seconds, ms, us or ns since 1970"
    )
    version: Path = ""
    features: Path = Field(default="", description="an object that holds them")
    feature_paths: dict[Name, Path] = Field(
        default={}, max_length=MAX_FEATURES, description="features by name, instead of an object"
    )
    prediction: Path = ""
    probabilities: Path = ""
    latency_ms: Path = ""
    role: Path = ""
    subject: Path = ""
    tags: dict[Name, Path] = Field(
        default={}, max_length=MAX_TAGS, description="such as the fields of segments"
    )
    label: Path = Field(default="", description="of labels; in predictions it is no feature")
    default_version: str = Field(default="", max_length=64, description="of messages that name none")


def mapper_of(mapping: SourceMapping, what: str) -> Callable[[dict[str, Any], StreamMessage], dict[str, Any]]:
    """Return what writes a message's JSON as an item of the logging API; what is missing is left out."""
    names = _LABEL if what == "labels" else _PREDICTION
    places = {name: _places(mapping, name) for name in names}

    def apply(value: dict[str, Any], message: StreamMessage) -> dict[str, Any]:
        item, used = {}, set()
        for name, paths in places.items():
            for path in paths:
                if path == "$key" and what == "labels" and TOPIC_HEADER in message.headers:
                    continue  # a message of MQTT has a key of its content alone, which no prediction has
                found, field = _find(value, path, message), _field_of(value, path)
                if found is not None or value.get(field) is None:  # an empty field is no feature for that
                    used.add(field)
                if found is not None:
                    item[name] = found
                    break
        if message.has_text_cells:
            item |= {name: read_cell(item[name]) for name in _NUMBERS if name in item}
        _convert(item)
        if what == "labels":
            return item
        if "version" not in item and mapping.default_version:
            item["version"] = mapping.default_version
        features = _features(mapping, value, message, used)
        if isinstance(features, dict):
            if message.has_text_cells:
                features = {name: read_cell(cell) for name, cell in features.items()}
            item["features"] = {name: _as_number(cell) for name, cell in features.items()}
        elif features is not None:
            item["features"] = features  # for the reader to refuse
        if mapping.tags:
            tags = {name: _find(value, path, message) for name, path in mapping.tags.items()}
            item["tags"] = {name: _text(tag) for name, tag in tags.items() if tag is not None}
        return item

    return apply


def _places(mapping: SourceMapping, name: str) -> tuple[str, ...]:
    path = getattr(mapping, name)
    return (path,) if path else GUESSES[name]


def _features(mapping: SourceMapping, value: dict[str, Any], message: StreamMessage, used: set[str]) -> Any:
    """Return the features: those with paths, what lies at their path, or what else lies flat beside the other fields.

    What lies at a path that somebody named may be no object, or nothing: then the path is wrong, or the message.
    """
    if mapping.feature_paths:
        return {name: _find(value, path, message) for name, path in mapping.feature_paths.items()}
    if mapping.features:
        return _find(value, mapping.features, message)
    for path in GUESSES["features"]:
        found = _find(value, path, message)
        if isinstance(found, dict):
            return found
    named = (
        *mapping.tags.values(),
        *_places(mapping, "label"),
    )  # a label among the features would give it away
    used = used.union(message.place_fields, (_field_of(value, path) for path in named))
    # a list may be anything, of any length; one that is named by its path is a vector
    return {
        name: cell for name, cell in value.items() if name not in used and not isinstance(cell, dict | list)
    }


def _field_of(value: dict[str, Any], path: str) -> str:
    """Name the field of a message in which a path lies; a key that holds dots itself is one."""
    return path if path in value else path.partition(".")[0]


def _find(value: Any, path: str, message: StreamMessage) -> Any:
    """Return what lies at a path; None where nothing does. A key that holds dots itself is found first."""
    if path in value:
        return value[path]
    if path.startswith("$"):
        return _own(path, message)
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isascii() and part.isdecimal() and int(part[:6]) < len(value):
            value = value[int(part[:6])]
        else:
            return None
    return value


def _own(path: str, message: StreamMessage) -> Any:
    match path:
        case "$key" if message.key is not None:
            return key_text(message.key)
        case "$time" if message.time_us is not None:
            return rfc3339(from_us(message.time_us))
        case "$topic":
            return message.headers.get(TOPIC_HEADER)
        case "$position":
            return f"{message.partition}:{message.offset}"
    return None


def read_cell(cell: Any) -> Any:
    """Return what the text of a cell says: a number, true or false, or itself; 007 is no number."""
    if not isinstance(cell, str):
        return cell
    text = cell.strip()  # many write a blank behind each comma
    if _NUMBER.fullmatch(text):
        return float(text) if {*".eE"} & {*text} else int(text)
    return _BOOLEANS.get(text.lower(), cell)


def key_text(key: bytes) -> str:
    """Write a message's key as text; one that is no UTF-8 in base64."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return base64.b64encode(key).decode()


def _convert(item: dict[str, Any]) -> None:
    """Write numbers where the logging API takes text: ids, versions, and times since 1970."""
    for name, value in item.items():
        if name in _NAMES_OF_ROWS and isinstance(value, float) and value.is_integer():
            value = int(value)  # a column of whole numbers that has gaps, or decimals, often comes as floats
        item[name] = _text(value) if name in _TEXTS else _as_number(value)
    time = item.get("timestamp")
    if isinstance(time, int | float) and not isinstance(time, bool):
        item["timestamp"] = _moment(time)


def _as_number(value: Any) -> Any:
    """Return an integer that has more than the 64 bits of the logging API, as databases know them, as a float."""
    return float(value) if isinstance(value, int) and 64 <= value.bit_length() <= _MAX_FLOAT_BITS else value


def _text(value: Any) -> Any:
    is_number = isinstance(value, int | float)
    return str(value).lower() if isinstance(value, bool) else str(value) if is_number else value


def _moment(since: float) -> Any:
    """Write a time since 1970 as RFC 3339; its size says whether it counts s, ms, us or ns."""
    per_us = next(
        (scale for limit, scale in ((1e11, 1e6), (1e14, 1e3), (1e17, 1)) if abs(since) < limit), 1e-3
    )
    try:
        return rfc3339(from_us(int(since * per_us)))
    except (OverflowError, ValueError):
        return str(since)
