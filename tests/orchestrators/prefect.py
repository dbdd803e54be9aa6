"""A real Prefect with the deployment `retrain/default`."""

import shutil
from collections.abc import Mapping

import requests

from tests.orchestrators.server import SOURCES, Server, wait_for


class Prefect(Server):
    name, secret = "prefect", "admin:s3cret"
    stopped = ("CANCELLING", "CANCELLED")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def remote(self) -> dict[str, str]:
        return {"kind": "prefect", "url": self.url, "deployment": "retrain/default"}

    @property
    def variables(self) -> Mapping[str, str]:
        return {
            "PREFECT_HOME": str(self.folder / "home"),
            "PREFECT_API_URL": self.url,
            "PREFECT_API_AUTH_STRING": self.secret,
            "PREFECT_SERVER_API_AUTH_STRING": self.secret,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_UI_ENABLED": "false",
        }

    def start_server(self) -> None:
        self.launch("server", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        wait_for(lambda: self.answers("/health"), "Prefect's start")

    def start_pipelines(self) -> None:
        for file in ("prefect_flow.py", "training.py"):
            shutil.copy(SOURCES / file, self.folder)
        self.launch("pipelines", "python", "prefect_flow.py")
        wait_for(lambda: self.answers("/deployments/name/retrain/default"), "the deployment")

    def states_of(self, key: str) -> list[str]:
        found = requests.post(f"{self.url}/flow_runs/filter", json={}, auth=self._login, timeout=30).json()
        return [one["state_type"] for one in found if one["name"] == key]

    def get(self, path: str) -> requests.Response:
        return requests.get(f"{self.url}{path}", auth=self._login, timeout=30)

    @property
    def _login(self) -> tuple[str, str]:
        user, _, password = self.secret.partition(":")
        return user, password
