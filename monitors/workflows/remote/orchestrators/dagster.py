"""Dagster, by its GraphQL: a run of a job with a resource `driftline`, which takes the order as JSON in its `order`."""

from typing import Any

import orjson

from driftline.base.outbound.json_calls import call, first_at, id_at, text_at, value_at
from driftline.base.outbound.transport import RequestFailed
from monitors.workflows.remote.orchestrators.base import (
    ExternalState,
    Option,
    Orchestrator,
    Order,
    Pipeline,
    state_of,
)

TAG = "driftline/key"
FIND = """query ($filter: RunsFilter!) {
  runsOrError(filter: $filter, limit: 1) {
    __typename ... on Runs { results { runId } } ... on Error { message }
  }
}"""
LAUNCH = """mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } } ... on Error { message } }
}"""
STATE = "query ($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status } } }"
STOP = """mutation ($id: String!) {
  terminateRun(runId: $id) { __typename ... on TerminateRunFailure { message } ... on Error { message } }
}"""


class Dagster(Orchestrator):
    title = "Dagster"
    url = "the address of its GraphQL, such as https://dagster.example.com/graphql"
    secret = "a token of Dagster+; empty for a server without tokens"
    options = (
        Option("location", "Code location", "retraining"),
        Option("repository", "Repository", "__repository__"),
        Option("job", "Job", "retrain_approvals"),
    )
    can_poll = can_stop = True

    def start(self, pipeline: Pipeline, key: str, order: Order) -> str:
        # Dagster itself starts another run for the same tag.
        if running := self.find(pipeline, key):
            return running
        params = {
            "selector": {
                "repositoryLocationName": pipeline.options["location"],
                "repositoryName": pipeline.options["repository"],
                "jobName": pipeline.options["job"],
            },
            "runConfigData": {
                "resources": {"driftline": {"config": {"order": orjson.dumps(order).decode()}}}
            },
            "executionMetadata": {"tags": [{"key": TAG, "value": key}]},
        }
        launched = value_at(_ask(pipeline, LAUNCH, {"params": params}), "launchRun")
        if value_at(launched, "__typename") != "LaunchRunSuccess":
            raise RequestFailed(f"Dagster did not launch the job: {_reason_in(launched)}")
        return id_at(launched, "run", "runId")

    def find(self, pipeline: Pipeline, key: str) -> str:
        asked = {"filter": {"tags": [{"key": TAG, "value": key}]}}
        found = value_at(_ask(pipeline, FIND, asked), "runsOrError")
        if value_at(found, "__typename") != "Runs":
            raise RequestFailed(f"Dagster did not list its runs: {_reason_in(found)}")
        first = first_at(found, "results")
        return id_at(first, "runId") if first else ""

    def state(self, pipeline: Pipeline, external_id: str) -> ExternalState:
        status = text_at(_ask(pipeline, STATE, {"id": external_id}), "runOrError", "status")
        return state_of(status, succeeded="SUCCESS", failed=("FAILURE", "CANCELED"))

    def stop(self, pipeline: Pipeline, external_id: str) -> None:
        ended = value_at(_ask(pipeline, STOP, {"id": external_id}), "terminateRun")
        if value_at(ended, "__typename") != "TerminateRunSuccess":
            raise RequestFailed(f"Dagster did not end the run: {_reason_in(ended)}")


def _reason_in(found: Any) -> str:
    """Return what Dagster answered instead of what was asked for."""
    return str(value_at(found, "message") or value_at(found, "__typename") or "no reason")


def _ask(pipeline: Pipeline, query: str, variables: dict[str, Any]) -> Any:
    headers = {"Dagster-Cloud-Api-Token": pipeline.secret} if pipeline.secret else {}
    answer = call("POST", pipeline.url, body={"query": query, "variables": variables}, headers=headers)
    if errors := answer.get("errors"):
        raise RequestFailed(f"Dagster refused the query: {errors}")
    return answer.get("data")
