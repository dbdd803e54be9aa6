"""Kubeflow Pipelines 2, by its REST API: a run of a pipeline that takes the order as its parameter `order`."""

from urllib.parse import quote, urlencode

import orjson

from driftline.base.outbound.json_calls import bearer, call, first_at, id_at, text_at
from monitors.workflows.remote.orchestrators.base import (
    ExternalState,
    Option,
    Orchestrator,
    Order,
    Pipeline,
    state_of,
)


class Kubeflow(Orchestrator):
    title = "Kubeflow Pipelines 2"
    url = "the address of its API, such as https://kubeflow.example.com/pipeline"
    secret = "a bearer token; empty for an API without authentication"
    options = (
        Option("pipeline_id", "Pipeline", "b1a2…"),
        Option("version_id", "Version of the pipeline", "empty: the newest", is_required=False),
        Option(
            "experiment_id",
            "Experiment",
            "needed where each user has a namespace; empty: the default",
            is_required=False,
        ),
    )
    can_poll = can_stop = True

    def start(self, pipeline: Pipeline, key: str, order: Order) -> str:
        # Kubeflow itself starts another run under the same name.
        if running := self.find(pipeline, key):
            return running
        options = pipeline.options
        reference = {"pipeline_id": options["pipeline_id"]}
        if version := options.get("version_id"):
            reference["pipeline_version_id"] = version
        body = {
            "display_name": key,
            "pipeline_version_reference": reference,
            "runtime_config": {"parameters": {"order": orjson.dumps(order).decode()}},
        }
        if experiment := options.get("experiment_id"):
            body["experiment_id"] = experiment
        return id_at(call("POST", _url(pipeline), body=body, headers=bearer(pipeline.secret)), "run_id")

    def find(self, pipeline: Pipeline, key: str) -> str:
        predicate = {"key": "display_name", "operation": "EQUALS", "string_value": key}
        asked: dict[str, str | int] = {
            "page_size": 1,
            "filter": orjson.dumps({"predicates": [predicate]}).decode(),
        }
        if experiment := pipeline.options.get("experiment_id"):
            asked["experiment_id"] = experiment  # with several users nobody may list the runs of all
        found = call("GET", f"{_url(pipeline)}?{urlencode(asked)}", headers=bearer(pipeline.secret))
        first = first_at(found, "runs")
        return id_at(first, "run_id") if first else ""

    def state(self, pipeline: Pipeline, external_id: str) -> ExternalState:
        url = f"{_url(pipeline)}/{quote(external_id, safe='')}"
        found = text_at(call("GET", url, headers=bearer(pipeline.secret)), "state")
        return state_of(found, succeeded="SUCCEEDED", failed=("FAILED", "CANCELED", "SKIPPED"))

    def stop(self, pipeline: Pipeline, external_id: str) -> None:
        url = f"{_url(pipeline)}/{quote(external_id, safe='')}:terminate"
        call("POST", url, body={}, headers=bearer(pipeline.secret))


def _url(pipeline: Pipeline) -> str:
    return f"{pipeline.url}/apis/v2beta1/runs"
