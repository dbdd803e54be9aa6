"""A registry of many models that answers as MLflow 3 does, page by page."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from tests.monitors.workflows.mlflow.registry import LOGIN, MLMODEL, Answer
from tests.monitors.workflows.remote.service import Asked, Cut

COLUMNS = (
    b'signature:\n  inputs: \'[{"name": "wind", "type": "float"}, {"name": "load", "type": "float"}]\'\n'
)
ONNX = MLMODEL + COLUMNS
SKLEARN = b"flavors:\n  sklearn:\n    pickled_model: model.pkl\n"
_API = "/api/2.0/mlflow/"


@dataclass
class Version:
    onnx: bytes
    mlmodel: bytes = ONNX
    status: str = "READY"
    stage: str = "None"


@dataclass
class Registered:
    versions: dict[str, Version] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)


@dataclass
class ManyModels:
    """Registered models by their names."""

    models: dict[str, Registered] = field(default_factory=dict)
    cuts: int = 0
    """Downloads of an ONNX that the server does not survive."""
    cut_after: int = 0
    """Downloads before those."""
    is_away: bool = False
    is_restricted: bool = False
    page_size: int = 1_000
    next_page: str = ""
    """A page that it always names as the next one."""

    def add(self, name: str, *onnx: bytes, mlmodel: bytes = ONNX, **aliases: str) -> Registered:
        versions = {str(place): Version(one, mlmodel) for place, one in enumerate(onnx, start=1)}
        self.models[name] = Registered(versions, aliases)
        return self.models[name]

    def __call__(self, asked: Asked) -> Answer:
        path, _, query = asked.path.partition("?")
        if self.is_away:
            return 503, {"message": "starting"}
        if asked.headers.get("authorization") != LOGIN or self.is_restricted:
            return 403, {"message": f"{asked.headers.get('authorization')} has no permission"}
        values = dict(parse_qsl(query))
        match path.removeprefix(_API):
            case "registered-models/search":
                return 200, self._page("registered_models", [{"name": name} for name in self.models], values)
            case "model-versions/search":
                return 200, self._page("model_versions", self._versions(values["filter"]), values)
        found = self.models.get(values.get("name", ""))
        if found is None:
            return _missing("Registered Model not found")
        return self._of(found, path, values)

    def _of(self, found: Registered, path: str, values: dict[str, str]) -> Answer:
        if path.endswith("registered-models/get"):
            aliases = [{"alias": alias, "version": number} for alias, number in found.aliases.items()]
            return 200, {"registered_model": {"name": values["name"], "aliases": aliases}}
        version = found.versions.get(values.get("version", ""))
        if version is None:
            return _missing("Model Version not found")
        if path.endswith("model-versions/get"):
            described = {"version": values["version"], "status": version.status, "run_id": "4f1c"}
            return 200, {"model_version": described}
        return self._artifact(version, values["path"])

    def _artifact(self, version: Version, path: str) -> Answer:
        if path == "MLmodel":
            return 200, version.mlmodel
        if path != "model.onnx":
            return _missing("No such artifact")
        self.cut_after -= 1
        if self.cuts and self.cut_after < 0:
            self.cuts -= 1
            return 200, Cut(version.onnx)
        return 200, version.onnx

    def _versions(self, wanted: str) -> list[dict[str, Any]]:
        name = wanted.removeprefix("name=")[1:-1]
        found = self.models.get(name, Registered())
        return [
            {"name": name, "version": number, "status": one.status, "current_stage": one.stage}
            for number, one in found.versions.items()
        ]

    def _page(self, field: str, entries: list[Any], values: dict[str, str]) -> dict[str, Any]:
        start = int(values.get("page_token", "0"))
        end = start + min(int(values["max_results"]), self.page_size)
        following = self.next_page or (str(end) if end < len(entries) else "")
        return {field: entries[start:end]} | ({"next_page_token": following} if following else {})


def _missing(message: str) -> Answer:
    return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": message}
