"""Prefect 3, by its REST API: a flow run of a deployment, with the order as the parameter `order`."""

from urllib.parse import quote

from driftline.base.outbound.json_calls import call, call_for_list, id_at, login, text_at, value_at
from driftline.base.outbound.transport import RequestFailed
from monitors.workflows.remote.orchestrators.base import (
    ExternalState,
    Option,
    Orchestrator,
    Order,
    Pipeline,
    state_of,
)


class Prefect(Orchestrator):
    title = "Prefect 3"
    url = "the address of its API, such as https://prefect.example.com/api"
    secret = "an API key, or user:password of a server with basic authentication"
    options = (Option("deployment", "Deployment", "retrain-approvals/default"),)
    tested_with = "Prefect 3.9.1"
    can_poll = can_stop = True

    def start(self, pipeline: Pipeline, key: str, order: Order) -> str:
        headers = login(pipeline.secret)
        flow, _, name = pipeline.options["deployment"].rpartition("/")
        deployment = f"{pipeline.url}/deployments"
        if flow:
            found = call(
                "GET", f"{deployment}/name/{quote(flow, safe='')}/{quote(name, safe='')}", headers=headers
            )
            name = id_at(found, "id")
        body = {"name": key, "idempotency_key": key, "parameters": {"order": order}, "tags": ["driftline"]}
        url = f"{deployment}/{quote(name, safe='')}/create_flow_run"
        return id_at(call("POST", url, body=body, headers=headers), "id")

    def find(self, pipeline: Pipeline, key: str) -> str:
        body = {"flow_runs": {"idempotency_key": {"any_": [key]}}, "limit": 1}
        url = f"{pipeline.url}/flow_runs/filter"
        found = call_for_list("POST", url, body=body, headers=login(pipeline.secret))
        return id_at(found[0], "id") if found else ""

    def state(self, pipeline: Pipeline, external_id: str) -> ExternalState:
        found = call("GET", _run_url(pipeline, external_id), headers=login(pipeline.secret))
        kind = text_at(found, "state", "type")
        return state_of(kind, succeeded="COMPLETED", failed=("FAILED", "CRASHED", "CANCELLED"))

    def stop(self, pipeline: Pipeline, external_id: str) -> None:
        body = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": False}
        url = f"{_run_url(pipeline, external_id)}/set_state"
        answer = call("POST", url, body=body, headers=login(pipeline.secret))
        # A flow run that has not begun is rejected for CANCELLING and CANCELLED at once.
        if value_at(answer, "state", "type") not in ("CANCELLING", "CANCELLED"):
            reason = value_at(answer, "details", "reason") or value_at(answer, "status")
            raise RequestFailed(f"Prefect did not end the flow run: {reason}")


def _run_url(pipeline: Pipeline, external_id: str) -> str:
    return f"{pipeline.url}/flow_runs/{quote(external_id, safe='')}"
