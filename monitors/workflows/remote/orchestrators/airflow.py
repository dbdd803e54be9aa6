"""Apache Airflow 3, by its REST API: a DAG run with the order as its `conf`."""

from urllib.parse import quote

from driftline.base.outbound.json_calls import bearer, call, create, text_at
from driftline.base.outbound.transport import RequestFailed
from monitors.workflows.remote.orchestrators.base import (
    ExternalState,
    Option,
    Order,
    Pipeline,
    RunsNamedByKey,
    state_of,
)


class Airflow(RunsNamedByKey):
    title = "Apache Airflow 3"
    url = "the address of its API server, such as https://airflow.example.com"
    secret = "the password of the user"
    options = (
        Option("dag_id", "DAG", "retrain_approvals"),
        Option("username", "User", "driftline"),
    )
    tested_with = "Apache Airflow 3.3.2"

    def start(self, pipeline: Pipeline, key: str, order: Order) -> str:
        headers = _sign_in(pipeline)
        if call("GET", _dag_url(pipeline), headers=headers).get("is_paused"):
            raise RequestFailed(
                f"The DAG {pipeline.options['dag_id']} is paused, so that a run of it would never begin; unpause it in "
                "Airflow."
            )
        body = {"dag_run_id": key, "logical_date": None, "conf": order}
        create(f"{_dag_url(pipeline)}/dagRuns", body=body, headers=headers)
        return key

    def state(self, pipeline: Pipeline, external_id: str) -> ExternalState:
        found = call("GET", _run_url(pipeline, external_id), headers=_sign_in(pipeline))
        return state_of(text_at(found, "state"), succeeded="success", failed=("failed",))

    def stop(self, pipeline: Pipeline, external_id: str) -> None:
        url = f"{_run_url(pipeline, external_id)}?update_mask=state"
        call("PATCH", url, body={"state": "failed"}, headers=_sign_in(pipeline))


def _dag_url(pipeline: Pipeline) -> str:
    return f"{pipeline.url}/api/v2/dags/{quote(pipeline.options['dag_id'], safe='')}"


def _run_url(pipeline: Pipeline, external_id: str) -> str:
    return f"{_dag_url(pipeline)}/dagRuns/{quote(external_id, safe='')}"


def _sign_in(pipeline: Pipeline) -> dict[str, str]:
    """Get a token for one call; those of Airflow last a day by default, and none is kept here."""
    user = {"username": pipeline.options["username"], "password": pipeline.secret}
    return bearer(text_at(call("POST", f"{pipeline.url}/auth/token", body=user), "access_token"))
