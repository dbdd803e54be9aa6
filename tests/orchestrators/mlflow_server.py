"""A real MLflow with users and webhooks, in an environment and a folder of its own."""

import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from cryptography.fernet import Fernet

from tests.orchestrators.server import ENVIRONMENTS, PATIENCE_SECONDS, SOURCES
from tests.ports import free_port
from tests.waiting import wait_until

USER, PASSWORD = "admin", "s3cret-s3cret"
_USERS = f"""
[mlflow]
default_permission = READ
database_uri = sqlite:///users.db
admin_username = {USER}
admin_password = {PASSWORD}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""
_ENVIRONMENT = ENVIRONMENTS / "mlflow"


@dataclass
class Mlflow:
    """The server, which can be killed and started again in the same folder."""

    folder: Path
    port: int = field(default_factory=free_port)
    _key: bytes = field(default_factory=Fernet.generate_key)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        (self.folder / "users.ini").write_text(_USERS)
        arguments = ["server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port", str(self.port)]
        arguments += [
            "--backend-store-uri",
            "sqlite:///registry.db",
            "--artifacts-destination",
            "./artifacts",
        ]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [_ENVIRONMENT / "bin/mlflow", *arguments, "--workers", "1"],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self._answers, seconds=PATIENCE_SECONDS, what="MLflow's start")

    def kill(self) -> None:
        """Send SIGKILL to the server and all that it started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def log(self, onnx: bytes, name: str) -> str:
        """Log a version with MLflow's own client; return its number."""
        file = self.folder / "model.onnx"
        file.write_bytes(onnx)
        script = [_ENVIRONMENT / "bin/python", SOURCES / "mlflow_log.py", file, name]
        result = subprocess.run(
            script, cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        number: str = result.stdout.rpartition("version ")[2].strip()
        return number

    def set_alias(self, name: str, alias: str, number: str) -> None:
        self.call("POST", "registered-models/alias", {"name": name, "alias": alias, "version": number})

    def add_webhook(self, url: str, secret: str) -> None:
        events = [{"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"}]
        self.call("POST", "webhooks", {"name": "driftline", "url": url, "events": events, "secret": secret})

    def aliases(self, name: str) -> dict[str, str]:
        found = self.call("GET", "registered-models/get", {"name": name})["registered_model"]
        return {one["alias"]: one["version"] for one in found.get("aliases", [])}

    def tags(self, name: str, number: str) -> dict[str, str]:
        found = self.call("GET", "model-versions/get", {"name": name, "version": number})["model_version"]
        return {one["key"]: one["value"] for one in found.get("tags", [])}

    def call(self, method: str, path: str, values: dict[str, Any]) -> Any:
        sent = {"params": values} if method == "GET" else {"json": values}
        url = f"{self.url}/api/2.0/mlflow/{path}"
        answer = requests.request(method, url, auth=(USER, PASSWORD), timeout=30, **sent)  # type: ignore[arg-type]
        assert answer.ok, answer.text
        return answer.json()

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=30).ok
        except requests.ConnectionError:
            return False

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{_ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": PASSWORD,
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "users.ini"),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "test",
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": self._key.decode(),
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",  # the tests' Driftline has no TLS
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            "MLFLOW_WEBHOOK_CACHE_TTL": "0",  # one that is added counts at once
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
        }
