"""A real Airflow with the DAG `retrain`: its API server, scheduler and DAG processor, with SQLite."""

import json
import secrets
import shutil
from collections.abc import Mapping

import requests

from tests.orchestrators.server import SOURCES, Server, wait_for

USER = "driftline"
KEY = secrets.token_hex(32)


class Airflow(Server):
    name, secret = "airflow", "s3cret"
    stopped = ("failed",)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def remote(self) -> dict[str, str]:
        return {"kind": "airflow", "url": self.url, "dag_id": "retrain", "username": USER}

    @property
    def variables(self) -> Mapping[str, str]:
        return {
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__SECRET_KEY": KEY,
            "AIRFLOW__API_AUTH__JWT_SECRET": KEY,
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.folder / "passwords.json"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:user",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": "0",
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "false",
            # A task of a scheduler that was killed is missed after seconds instead of minutes.
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
        }

    def start_server(self) -> None:
        if not (self.folder / "airflow.db").exists():
            self._set_up()
        self.launch("server", "airflow", "api-server")
        wait_for(lambda: self.answers("/version"), "Airflow's start")

    def start_pipelines(self) -> None:
        self.launch("pipelines", "airflow", "scheduler")
        wait_for(lambda: self.answers("/dags/retrain"), "the DAG")

    def states_of(self, key: str) -> list[str]:
        found = self.get("/dags/retrain/dagRuns").json()["dag_runs"]
        return [one["state"] for one in found if one["dag_run_id"] == key]

    def get(self, path: str) -> requests.Response:
        user = {"username": USER, "password": self.secret}
        token = requests.post(f"{self.url}/auth/token", json=user, timeout=30).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get(f"{self.url}/api/v2{path}", headers=headers, timeout=30)

    def _set_up(self) -> None:
        """Make the database, the user's password and the DAG."""
        (self.folder / "passwords.json").write_text(json.dumps({USER: self.secret}))
        dags = self.folder / "dags"
        dags.mkdir()
        for file in ("airflow_dag.py", "training.py"):
            shutil.copy(SOURCES / file, dags)
        assert self.launch("migration", "airflow", "db", "migrate").wait() == 0
        del self._processes["migration"]
        self.launch("dags", "airflow", "dag-processor")
