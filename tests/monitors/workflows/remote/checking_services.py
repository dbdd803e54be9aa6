"""Services that refuse what the real ones refuse, by their published schemas of November 2026.

Airflow: its OpenAPI (`/openapi.json` of the API server). Prefect: `/api/openapi.json`. Dagster: its GraphQL schema.
Kubeflow: `v2beta1` of its swagger. GitHub: its REST description. Argo: its swagger. SageMaker: the model 2017-07-24 of
its API, as AWS's own clients have it.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from monitors.workflows.remote.orchestrators.aws_signature import AccessKey, authorization
from tests.monitors.workflows.remote.service import Asked

PASSWORD, TOKEN = "s3cret", "token-of-a-service-account"
JWT = f"eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.{'e30' * 80}.{'c2ln' * 21}"  # as long as Airflow's
PREFECT_ID, FLOW_RUN = "0195c1f0-6f1b-7d41-8a53-9f0f1fbd2a10", "0195c1f1-21d4-7a0e-b1c5-6a8b3f5d9e77"


class Refused(Exception):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def require(condition: object, words: str, status: int = 422) -> None:
    if not condition:
        raise Refused(status, words)


@dataclass
class FakeService:
    """What a service remembers: its runs by the name that Driftline gave them, each with a state in its own words."""

    rules: Callable[["FakeService", Asked, Any], tuple[int, Any]]
    media_type: str = "application/json"
    runs: dict[str, str] = field(default_factory=dict)
    orders: list[Any] = field(default_factory=list)
    names_by_token: dict[str, str] = field(default_factory=dict)

    def __call__(self, asked: Asked) -> tuple[int, Any]:
        try:
            if asked.method != "GET":
                kind = asked.headers.get("content-type")
                require(kind == self.media_type, "unsupported media type", 415)
            return self.rules(self, asked, json.loads(asked.body) if asked.body else None)
        except Refused as refusal:
            return refusal.status, {"detail": str(refusal)}


def only(body: dict[str, Any], *names: str) -> None:
    """Refuse fields that the schema does not have, as each of these services does."""
    require(set(body) <= set(names), f"extra fields: {sorted(set(body) - set(names))}")


def airflow(service: FakeService, asked: Asked, body: Any) -> tuple[int, Any]:
    path, _, query = asked.path.partition("?")
    if path == "/auth/token":
        only(body, "username", "password")
        require(body == {"username": "driftline", "password": PASSWORD}, "Invalid credentials", 401)
        return 201, {"access_token": JWT}
    require(asked.headers.get("authorization") == f"Bearer {JWT}", "Not authenticated", 401)
    if (asked.method, path) == ("GET", "/api/v2/dags/retrain"):
        return 200, {"dag_id": "retrain", "is_paused": False}
    found = re.fullmatch(r"/api/v2/dags/retrain/dagRuns(?:/([A-Za-z0-9_.~:+-]+))?", path)
    require(found, "The DAG was not found", 404)
    assert found is not None
    if asked.method == "POST":
        only(body, "dag_run_id", "logical_date", "conf", "run_after", "note")
        require("logical_date" in body, "logical_date: Field required")
        require(body["logical_date"] is None, "logical_date: a run by hand has none here")
        if body["dag_run_id"] in service.runs:
            return 409, {"detail": {"reason": "Unique constraint violation"}}
        service.runs[body["dag_run_id"]] = "queued"
        service.orders.append(body["conf"])
        return 200, {
            "dag_run_id": body["dag_run_id"],
            "dag_id": "retrain",
            "state": "queued",
            "conf": body["conf"],
        }
    name = found[1]
    require(name in service.runs, "The DagRun was not found", 404)
    if asked.method == "PATCH":
        require(query == "update_mask=state", "update_mask is missing")
        require(body in ({"state": "failed"}, {"state": "success"}, {"state": "queued"}), "state")
        service.runs[name] = body["state"]
    return 200, {"dag_run_id": name, "state": service.runs[name]}


def prefect(service: FakeService, asked: Asked, body: Any) -> tuple[int, Any]:
    basic = f"Basic {base64.b64encode(b'admin:s3cret').decode()}"
    require(asked.headers.get("authorization") == basic, "Unauthorized", 401)
    match asked.method, asked.path:
        case "GET", "/api/deployments/name/retrain/default":
            return 200, {"id": PREFECT_ID, "name": "default"}
        case "POST", path if path == f"/api/deployments/{PREFECT_ID}/create_flow_run":
            only(
                body,
                "name",
                "parameters",
                "idempotency_key",
                "tags",
                "state",
                "context",
                "job_variables",
                "labels",
            )
            require(set(body["parameters"]) == {"order"}, "the flow has the parameter order alone", 409)
            key = body["idempotency_key"]
            if key not in service.runs:
                service.runs[key] = "SCHEDULED"
                service.orders.append(body["parameters"]["order"])
            return 201, {"id": FLOW_RUN, "name": body["name"], "state": {"type": service.runs[key]}}
        case "POST", "/api/flow_runs/filter":
            only(body, "flow_runs", "limit", "offset", "sort")
            [key] = body["flow_runs"]["idempotency_key"]["any_"]
            return 200, [{"id": FLOW_RUN}] if key in service.runs else []
        case "GET", path if path == f"/api/flow_runs/{FLOW_RUN}":
            [state] = service.runs.values()
            return 200, {"id": FLOW_RUN, "state_type": state, "state": {"type": state, "name": state.title()}}
        case "POST", path if path == f"/api/flow_runs/{FLOW_RUN}/set_state":
            only(body, "state", "force")
            require(body["state"]["type"] == "CANCELLING", "state.type")
            [(key, before)] = service.runs.items()
            service.runs[key] = "CANCELLED"
            if before == "SCHEDULED":  # there is no process to end, so it is over at once
                reason = "Scheduled flow run has no infrastructure to terminate."
                details = {"type": "reject_details", "reason": reason}
                return 200, {"status": "REJECT", "state": {"type": "CANCELLED"}, "details": details}
            return 201, {"status": "ACCEPT", "state": body["state"]}
    raise Refused(404, "Not Found")


def dagster(service: FakeService, asked: Asked, body: Any) -> tuple[int, Any]:
    require(asked.headers.get("dagster-cloud-api-token") == TOKEN, "Unauthorized", 401)
    require(asked.path == "/graphql", "Not Found", 404)
    only(body, "query", "variables", "operationName")
    query, values = body["query"], body["variables"]
    if "runsOrError(" in query:
        [tag] = values["filter"]["tags"]
        found = [{"runId": f"run-of-{tag['value']}"}] if tag["value"] in service.runs else []
        return 200, {"data": {"runsOrError": {"__typename": "Runs", "results": found}}}
    if "launchRun(" in query:
        params = values["params"]
        only(params, "selector", "runConfigData", "mode", "executionMetadata", "stepKeys", "preset")
        selector = params["selector"]
        if selector != {
            "repositoryLocationName": "retraining",
            "repositoryName": "__repository__",
            "jobName": "retrain",
        }:
            error = {
                "__typename": "PipelineNotFoundError",
                "message": f"Could not find {selector['jobName']}",
            }
            return 200, {"data": {"launchRun": error}}
        [tag] = params["executionMetadata"]["tags"]
        service.runs[tag["value"]] = "QUEUED"
        service.orders.append(
            json.loads(params["runConfigData"]["resources"]["driftline"]["config"]["order"])
        )
        run = {"runId": f"run-of-{tag['value']}"}
        return 200, {"data": {"launchRun": {"__typename": "LaunchRunSuccess", "run": run}}}
    key = values["id"].removeprefix("run-of-")
    if key not in service.runs:
        return 200, {"data": {"runOrError": {"__typename": "RunNotFoundError"}}}
    if "terminateRun(" in query:
        service.runs[key] = "CANCELED"
        return 200, {"data": {"terminateRun": {"__typename": "TerminateRunSuccess"}}}
    return 200, {"data": {"runOrError": {"__typename": "Run", "status": service.runs[key]}}}


def kubeflow(service: FakeService, asked: Asked, body: Any) -> tuple[int, Any]:
    require(asked.headers.get("authorization") == f"Bearer {TOKEN}", "Unauthenticated", 401)
    parts = urlsplit(asked.path)
    match asked.method, parts.path:
        case "GET", "/pipeline/apis/v2beta1/runs":
            require(
                parse_qs(parts.query).get("experiment_id") == ["e7"],
                "In multi-user mode, must specify a namespace or an experiment",
                400,
            )
            [predicate] = json.loads(parse_qs(parts.query)["filter"][0])["predicates"]
            require(predicate["operation"] == "EQUALS", "operation")
            require(predicate["key"] == "display_name", "key")
            found = [
                {"run_id": f"run-of-{name}"} for name in service.runs if name == predicate["string_value"]
            ]
            return 200, {"runs": found, "total_size": len(found)} if found else {}
        case "POST", "/pipeline/apis/v2beta1/runs":
            only(
                body,
                "display_name",
                "description",
                "pipeline_version_reference",
                "runtime_config",
                "experiment_id",
            )
            require(body.get("experiment_id") == "e7", "In multi-user mode, a run needs an experiment", 400)
            only(body["pipeline_version_reference"], "pipeline_id", "pipeline_version_id")
            require(body["pipeline_version_reference"]["pipeline_id"] == "b1a2", "Pipeline not found", 404)
            service.runs[body["display_name"]] = "PENDING"
            service.orders.append(json.loads(body["runtime_config"]["parameters"]["order"]))
            return 200, {"run_id": f"run-of-{body['display_name']}", "state": "PENDING"}
    name, _, verb = parts.path.removeprefix("/pipeline/apis/v2beta1/runs/run-of-").partition(":")
    require(name in service.runs, "Run not found", 404)
    if verb:
        require((asked.method, verb) == ("POST", "terminate"), "Not Found", 404)
        service.runs[name] = "CANCELING"
        return 200, {}
    return 200, {"run_id": f"run-of-{name}", "state": service.runs[name]}


def github(service: FakeService, asked: Asked, body: Any) -> tuple[int, Any]:
    require(asked.headers.get("authorization") == f"Bearer {TOKEN}", "Bad credentials", 401)
    require(asked.headers.get("accept") == "application/vnd.github+json", "accept", 415)
    require(asked.headers.get("x-github-api-version") == "2022-11-28", "version", 400)
    require((asked.method, asked.path) == ("POST", "/repos/bank/models/dispatches"), "Not Found", 404)
    only(body, "event_type", "client_payload")
    require(len(body["event_type"]) <= 100, "event_type is too long")
    require(len(body["client_payload"]) <= 10, "No more than 10 properties are allowed")
    require(len(json.dumps(body["client_payload"])) < 65_536, "client_payload is too large")
    service.runs[str(len(service.runs))] = "sent"
    service.orders.append(body["client_payload"])
    return 204, None


def argo(service: FakeService, asked: Asked, body: Any) -> tuple[int, Any]:
    require(asked.headers.get("authorization") == f"Bearer {TOKEN}", "token not valid", 401)
    parts = urlsplit(asked.path)
    if asked.method == "POST":
        require(parts.path == "/api/v1/workflows/training/submit", "Not Found", 404)
        only(body, "namespace", "resourceKind", "resourceName", "submitOptions")
        only(
            body["submitOptions"],
            "name",
            "generateName",
            "parameters",
            "labels",
            "serviceAccount",
            "annotations",
        )
        require(body["resourceKind"] == "WorkflowTemplate", "resourceKind", 400)
        require(body["resourceName"] == "retrain", "workflowtemplates not found", 404)
        name = body["submitOptions"]["name"]
        require(re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name), "no DNS-1123 name", 400)
        if name in service.runs:
            return 409, {"code": 6, "message": f"workflows.argoproj.io {name!r} already exists"}
        service.runs[name] = ""
        [parameter] = body["submitOptions"]["parameters"]
        service.orders.append(json.loads(parameter.removeprefix("order=")))
        return 200, {"metadata": {"name": name}}
    name, _, verb = parts.path.removeprefix("/api/v1/workflows/training/").partition("/")
    require(name in service.runs, "workflow not found", 404)
    if verb:
        require((asked.method, verb) == ("PUT", "terminate"), "Not Found", 404)
        require(body == {"name": name, "namespace": "training"}, "body", 400)
        service.runs[name] = "Failed"
    status = {"phase": service.runs[name]} if service.runs[name] else {}
    return 200, {"metadata": {"name": name}, "status": status}


ACCESS_KEY = AccessKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
PIPELINE_ARN = "arn:aws:sagemaker:eu-west-1:123456789012:pipeline/retrain"
SAGEMAKER_FIELDS = {
    "StartPipelineExecution": {
        "PipelineName", "ClientRequestToken", "PipelineExecutionDisplayName", "PipelineParameters",
        "PipelineExecutionDescription", "ParallelismConfiguration", "SelectiveExecutionConfig", "PipelineVersionId",
    },
    "DescribePipelineExecution": {"PipelineExecutionArn"},
    "StopPipelineExecution": {"PipelineExecutionArn", "ClientRequestToken"},
    "ListPipelineExecutions": {
        "PipelineName", "CreatedAfter", "CreatedBefore", "SortBy", "SortOrder", "NextToken", "MaxResults",
    },
}  # fmt: skip


def sagemaker(service: FakeService, asked: Asked, body: Any) -> tuple[int, Any]:
    require(asked.headers.get("content-type") == "application/x-amz-json-1.1", "UnknownOperation", 404)
    require((asked.method, asked.path) == ("POST", "/"), "UnknownOperation", 404)
    require_signature(asked)
    target, _, operation = asked.headers["x-amz-target"].partition(".")
    require(target == "SageMaker" and operation in SAGEMAKER_FIELDS, "UnknownOperation", 400)
    only(body, *SAGEMAKER_FIELDS[operation])
    if "ClientRequestToken" in SAGEMAKER_FIELDS[operation]:
        require(32 <= len(body["ClientRequestToken"]) <= 128, "ValidationException: clientRequestToken", 400)
    if "PipelineName" in SAGEMAKER_FIELDS[operation]:
        require(body["PipelineName"] == PIPELINE_ARN, "ResourceNotFound", 400)
    match operation:
        case "StartPipelineExecution":
            return 200, {"PipelineExecutionArn": start_execution(service, body)}
        case "ListPipelineExecutions":
            require(1 <= body["MaxResults"] <= 100, "ValidationException: maxResults", 400)
            require((body["SortBy"], body["SortOrder"]) == ("CreationTime", "Descending"), "sort", 400)
            found = [
                {
                    "PipelineExecutionArn": arn_of(name),
                    "PipelineExecutionDisplayName": name,
                    "StartTime": 1.7e9,
                }
                for name in reversed(service.runs)
            ]
            return 200, {"PipelineExecutionSummaries": found}
    [name] = [name for name in service.runs if arn_of(name) == body["PipelineExecutionArn"]] or [""]
    require(name, "ResourceNotFound", 400)
    if operation == "StopPipelineExecution":
        service.runs[name] = "Stopped"
        return 200, {"PipelineExecutionArn": arn_of(name)}
    return 200, {"PipelineExecutionArn": arn_of(name), "PipelineExecutionStatus": service.runs[name]}


def require_signature(asked: Asked) -> None:
    """Refuse a request of which the headers that came are others than those that were signed."""
    sent = asked.headers.get("authorization", "")
    names = re.search("SignedHeaders=([a-z0-9;-]+)", sent)
    require(names, "MissingAuthenticationTokenException", 403)
    assert names is not None
    signed = {name: asked.headers[name] for name in names[1].split(";")}
    require({"host", "x-amz-date", "x-amz-target"} <= set(signed), "IncompleteSignatureException", 403)
    expected = authorization(signed, asked.body, ACCESS_KEY, region="eu-west-1", service="sagemaker")
    require(sent == expected, "InvalidSignatureException", 403)


def start_execution(service: FakeService, body: dict[str, Any]) -> str:
    """Start an execution, once for a token, and return its ARN."""
    name = body["PipelineExecutionDisplayName"]
    require(re.fullmatch("[a-zA-Z0-9](-*[a-zA-Z0-9]){0,81}", name), "ValidationException: displayName", 400)
    parameters = {one["Name"]: one["Value"] for one in body["PipelineParameters"]}
    require(set(parameters) == {"order_url", "token"}, "the pipeline has these two parameters alone", 400)
    require(all(len(value) <= 1024 for value in parameters.values()), "ValidationException: value", 400)
    if body["ClientRequestToken"] not in service.names_by_token:
        service.names_by_token[body["ClientRequestToken"]] = name
        service.runs[name] = "Executing"
        service.orders.append(parameters)
    return arn_of(service.names_by_token[body["ClientRequestToken"]])


def arn_of(name: str) -> str:
    return f"{PIPELINE_ARN}/execution/{hashlib.sha256(name.encode()).hexdigest()[:12]}"
