"""Lines to copy into a shell or a program, in which names are data: what people call their features runs nothing."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_NOW = '"$(date -u +%Y-%m-%dT%H:%M:%SZ)"'
_TOKEN = '-H "Authorization: Bearer $DRIFTLINE_TOKEN"'
_NOW_PLACE = "the time now"


NUMBER, TEXT = "<number>", "<text>"
"""What the reader replaces; a number to replace stands without quotes, so that the line as it is logs nothing."""


@dataclass(frozen=True)
class Example:
    """The prediction that the lines log, and its label."""

    features: Mapping[str, str | float]
    version: str = "1"
    prediction: str = "1"
    probabilities: float | str = 0.83


def example_to_fill_in(version: str, features: Mapping[str, bool]) -> Example:
    """Return one of names alone, by whether each feature is a number: nothing invented joins what a model said."""
    return Example(
        {name: NUMBER if is_number else TEXT for name, is_number in features.items()},
        version,
        prediction=TEXT,
        probabilities=NUMBER,
    )


def log_a_prediction(model_url: str, example: Example) -> str:
    """Log one prediction with curl."""
    prediction = {
        "id": "first-1",
        "timestamp": _NOW_PLACE,
        "version": example.version,
        "features": dict(example.features),
        "prediction": example.prediction,
        "probabilities": example.probabilities,
    }
    before, after = _json({"predictions": [prediction]}).split(_NOW_PLACE, 1)
    body = f"{shlex.quote(before)}{_NOW}{shlex.quote(after)}"
    return _curl("POST", f"{model_url}/predictions", "application/json", ["-d", body])


def send_a_label(model_url: str, example: Example) -> str:
    """Send the label of that prediction with curl."""
    body = shlex.quote(_json({"labels": [{"id": "first-1", "label": example.prediction}]}))
    return _curl("POST", f"{model_url}/labels", "application/json", ["-d", body])


def send_a_file(method: str, url: str, file: str) -> str:
    """Send a CSV with curl."""
    return _curl(method, url, "text/csv", ["--data-binary", shlex.quote(f"@{file}")])


def install_client(host: str, wheel: str) -> str:
    """Install the Python client: from this server where it has the wheel, else from the sources."""
    source = f"{host}/docs/{wheel}" if wheel else "./platform/driftline_client  # in Driftline's sources"
    return f"pip install {source}"


def log_from_python(host: str, model: str, example: Example) -> str:
    """Log one prediction and its label with the client."""
    logged = ", ".join(
        f"{name}={_json(value)}"
        for name, value in (
            ("features", dict(example.features)),
            ("prediction", example.prediction),
            ("probabilities", example.probabilities),
        )
    )
    return "\n".join(
        [
            f"import driftline_client          # DRIFTLINE_URL={host}, or: driftline login --url {host}",
            "",
            f"model = driftline_client.model({_json(model)}, version={_json(example.version)})",
            f"key = model.log({logged})",
            f"model.label(key, {_json(example.prediction)})  # now, or days later",
        ]
    )


def log_from_shell(host: str, model: str) -> str:
    """Upload a reference and log files with the client's command line."""
    name = shlex.quote(model)
    return "\n".join(
        [
            f"driftline login --url {host}",
            f"driftline reference training.csv --model {name}",
            f"driftline log newer.csv --model {name}",
            f"driftline labels labels.csv --model {name}",
            f"driftline incidents --model {name}",
        ]
    )


def _curl(method: str, url: str, content_type: str, body: Sequence[str]) -> str:
    return (
        f"curl -X {method} {shlex.quote(url)} \\\n"
        f"  {_TOKEN} -H {shlex.quote(f'Content-Type: {content_type}')} \\\n"
        f"  {' '.join(body)}"
    )


def _json(value: object) -> str:
    """Write JSON, whose texts and numbers are Python's too; a number to replace stands without quotes."""
    return json.dumps(value, ensure_ascii=False).replace(f'"{NUMBER}"', NUMBER)
