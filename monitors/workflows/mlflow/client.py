"""The few calls of MLflow's REST API that are needed, over the guarded transport."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Self
from urllib.parse import urlencode

from driftline.base.keys.secrets_at_rest import decrypt_optional
from driftline.base.outbound.json_calls import call, login, text_at, value_at
from driftline.base.outbound.secrecy import failing_without_secrets
from driftline.base.outbound.targets import UrlNotAllowed, parse_target
from driftline.base.outbound.transport import RequestFailed, download
from driftline.base.work.leased_work import WorkFailed
from inference.registry.models import Model
from monitors.workflows.mlflow.models import MlflowConnection, MlflowVersion

_API = "/api/2.0/mlflow"
READY = "READY"  # the status of a version that can be read
_RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model as it is called; each call raises `RequestFailed`, with no secret in its text."""

    url: str
    name: str
    secret: str

    @classmethod
    def of(cls, connection: MlflowConnection) -> Self:
        """Return how a connection is called; raises `SecretUnreadable`."""
        sealed = bytes(connection.secret)
        return cls(connection.url, connection.registered_model, decrypt_optional(sealed))

    def aliases(self) -> dict[str, str]:
        """Return the number of the version to which each alias points."""
        answer = self._call("GET", "registered-models/get", {"name": self.name})
        text_at(answer, "registered_model", "name")  # else it is no MLflow that answers
        entries = value_at(answer, "registered_model", "aliases")
        return {
            text_at(entry, "alias"): version_number(text_at(entry, "version"))
            for entry in (entries if isinstance(entries, list) else [])
        }

    def run_of(self, number: str) -> str:
        """Return MLflow's own run that made a version, empty where none did; fails for one that is not ready."""
        answer = self._call("GET", "model-versions/get", {"name": self.name, "version": number})
        status = text_at(answer, "model_version", "status")
        if status != READY:
            raise RequestFailed(f"MLflow says that version {number} is {status}, not {READY}.")
        run = value_at(answer, "model_version", "run_id")
        return run if isinstance(run, str) and _RUN.fullmatch(run) else ""

    def set_alias(self, alias: str, number: str) -> None:
        """Point an alias at a version; where it pointed before does not matter."""
        body = {"name": self.name, "alias": alias, "version": number}
        self._call("POST", "registered-models/alias", body=body)

    def delete_alias(self, alias: str) -> None:
        """Take an alias away, wherever it points."""
        self._call("DELETE", "registered-models/alias", body={"name": self.name, "alias": alias})

    def set_tag(self, number: str, key: str, value: str) -> None:
        """Set a tag of a version, in place of one with the same key."""
        body = {"name": self.name, "version": number, "key": key, "value": value}
        self._call("POST", "model-versions/set-tag", body=body)

    def download(self, number: str, path: str, target: IO[bytes], *, max_bytes: int, seconds: float) -> None:
        """Write an artifact of a version to a file within some seconds, at most its first `max_bytes`.

        MLflow's server reads it from its store, whichever that is, so that no other server has to be reached.
        """
        query = urlencode({"name": self.name, "version": number, "path": path})
        with failing_without_secrets(self.secret):
            download(
                _checked(f"{self.url}/model-versions/get-artifact?{query}"),
                target,
                headers=login(self.secret) | {"Accept-Encoding": "identity"},
                max_bytes=max_bytes,
                deadline=seconds,
            )

    def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None
    ) -> dict[str, Any]:
        return call_mlflow(self.url, self.secret, method, path, query, body)


def call_mlflow(
    server: str,
    secret: str,
    method: str,
    path: str,
    query: Mapping[str, str] | None = None,
    body: Any = None,
) -> dict[str, Any]:
    """Call the API of a server; raises `RequestFailed`, with no secret in its text."""
    url = f"{server}{_API}/{path}" + (f"?{urlencode(query)}" if query else "")
    with failing_without_secrets(secret):
        return call(method, url, body=body, headers=login(secret))


def registry_of(model: Model, taken: MlflowVersion) -> tuple[MlflowConnection, RegisteredModel]:
    """Return the connection over which a version came; raises WorkFailed where the model has another by now."""
    connection = MlflowConnection.objects.filter(
        model=model, url=taken.url, registered_model=taken.registered_model
    ).first()
    if connection is None:
        raise WorkFailed(f"The model does not follow {taken.registered_model} at {taken.url} any more.")
    return connection, RegisteredModel.of(connection)


def version_number(text: str) -> str:
    """Return the number of a version as MLflow writes it; raises `RequestFailed` for anything else."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 20):
        raise RequestFailed(f"MLflow names a version {text!r}, which is no number.")
    return text


def _checked(url: str) -> str:
    try:
        return parse_target(url).url
    except UrlNotAllowed as error:
        raise RequestFailed(f"url_not_allowed: {error}") from error
