"""Argo Workflows, by its REST API: a workflow of a template that takes the order as its parameter `order`."""

from urllib.parse import quote

import orjson

from driftline.base.outbound.json_calls import bearer, call, create, text_at, value_at
from monitors.workflows.remote.orchestrators.base import (
    ExternalState,
    Option,
    Order,
    Pipeline,
    RunsNamedByKey,
    state_of,
)


class Argo(RunsNamedByKey):
    title = "Argo Workflows"
    url = "the address of its server, such as https://argo.example.com:2746"
    secret = "a bearer token of a service account"
    options = (
        Option("namespace", "Namespace", "training"),
        Option("template", "Workflow template", "retrain-approvals"),
    )

    def start(self, pipeline: Pipeline, key: str, order: Order) -> str:
        body = {
            "namespace": pipeline.options["namespace"],
            "resourceKind": "WorkflowTemplate",
            "resourceName": pipeline.options["template"],
            "submitOptions": {"name": key, "parameters": [f"order={orjson.dumps(order).decode()}"]},
        }
        create(f"{_url(pipeline)}/submit", body=body, headers=bearer(pipeline.secret))
        return key

    def state(self, pipeline: Pipeline, external_id: str) -> ExternalState:
        url = f"{_url(pipeline)}/{quote(external_id, safe='')}?fields=metadata.name,status.phase"
        found = call("GET", url, headers=bearer(pipeline.secret))
        text_at(found, "metadata", "name")
        phase = value_at(found, "status", "phase") or "Pending"  # none until the controller has seen it
        return state_of(str(phase), succeeded="Succeeded", failed=("Failed", "Error"))

    def stop(self, pipeline: Pipeline, external_id: str) -> None:
        body = {"name": external_id, "namespace": pipeline.options["namespace"]}
        url = f"{_url(pipeline)}/{quote(external_id, safe='')}/terminate"
        call("PUT", url, body=body, headers=bearer(pipeline.secret))


def _url(pipeline: Pipeline) -> str:
    return f"{pipeline.url}/api/v1/workflows/{quote(pipeline.options['namespace'], safe='')}"
