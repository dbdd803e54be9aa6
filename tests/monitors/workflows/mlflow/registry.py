"""A registry that answers as MLflow 3 does, and refuses what MLflow refuses."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from tests.monitors.workflows.remote.service import Asked, Cut

NAME = "flights"
LOGIN = "Basic ZHJpZnRsaW5lOnMzY3JldC1zM2NyZXQ="  # driftline:s3cret-s3cret
MLMODEL = b"flavors:\n  onnx:\n    data: model.onnx\n  python_function:\n    loader_module: mlflow.onnx\n"
_API = "/api/2.0/mlflow/"
type Answer = tuple[int, Any]


@dataclass
class Registry:
    """One registered model: its versions' files, its aliases and tags."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    cuts: int = 0
    """Downloads of an ONNX that the server does not survive."""
    is_away: bool = False
    last_words: bytes | None = None
    """What it answers while it is away."""

    def add(self, number: str, onnx: bytes, mlmodel: bytes = MLMODEL, alias: str = "challenger") -> None:
        self.files[number] = {"MLmodel": mlmodel, "model.onnx": onnx}
        self.tags[number] = {}
        self.aliases[alias] = number

    def __call__(self, asked: Asked) -> Answer:
        path, _, query = asked.path.partition("?")
        if self.is_away:
            return 503, self.last_words
        if asked.headers.get("authorization") != LOGIN:
            return 401, {"message": f"{asked.headers.get('authorization')} is not authenticated"}
        values = dict(parse_qsl(query)) if asked.method == "GET" else asked.json
        if values.get("name") != NAME:
            return _refusal(404, "RESOURCE_DOES_NOT_EXIST", "Registered Model not found")
        match asked.method, path.removeprefix(_API):
            case "GET", "registered-models/get":
                return 200, {"registered_model": {"name": NAME, **self._described_aliases()}}
            case "GET", "model-versions/get":
                return self._version(values["version"])
            case "GET", "/model-versions/get-artifact":
                return self._artifact(values["version"], values["path"])
            case "POST", "registered-models/alias":
                return self._set_alias(values["alias"], values["version"])
            case "DELETE", "registered-models/alias":
                self.aliases.pop(values["alias"], None)
                return 200, {}
            case "POST", "model-versions/set-tag":
                return self._set_tag(values["version"], values["key"], values["value"])
        return _refusal(404, "ENDPOINT_NOT_FOUND", path)

    def _described_aliases(self) -> dict[str, Any]:
        """MLflow leaves the field out where there is none."""
        aliases = [{"alias": alias, "version": number} for alias, number in self.aliases.items()]
        return {"aliases": aliases} if aliases else {}

    def _version(self, number: str) -> Answer:
        if number not in self.files:
            return _refusal(404, "RESOURCE_DOES_NOT_EXIST", "Model Version not found")
        return 200, {"model_version": {"name": NAME, "version": number, "status": "READY", "run_id": "4f1c"}}

    def _artifact(self, number: str, path: str) -> Answer:
        content = self.files.get(number, {}).get(path)
        if content is None:
            return _refusal(404, "RESOURCE_DOES_NOT_EXIST", "No such artifact")
        if path == "model.onnx" and self.cuts:
            self.cuts -= 1
            return 200, Cut(content)
        return 200, content

    def _set_alias(self, alias: str, number: str) -> Answer:
        if not isinstance(number, str) or number not in self.files:
            return _refusal(404, "RESOURCE_DOES_NOT_EXIST", "Model Version not found")
        self.aliases[alias] = number
        return 200, {}

    def _set_tag(self, number: str, key: str, value: Any) -> Answer:
        if number not in self.files:
            return _refusal(404, "RESOURCE_DOES_NOT_EXIST", "Model Version not found")
        if not isinstance(value, str):
            return _refusal(400, "INVALID_PARAMETER_VALUE", "value is no string")
        self.tags[number][key] = value
        return 200, {}


def _refusal(status: int, code: str, message: str) -> Answer:
    return status, {"error_code": code, "message": message}
