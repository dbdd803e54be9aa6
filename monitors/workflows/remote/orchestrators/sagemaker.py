"""Amazon SageMaker Pipelines, by its API of JSON: an execution of a pipeline.

A parameter has at most 1,024 characters, fewer than an order. The pipeline gets where to read it, as `order_url`, and
the token for that, as `token`.
"""

import hashlib
import re
from typing import Any
from urllib.parse import urlsplit

import orjson

from driftline.base.clock import now
from driftline.base.outbound.json_calls import call, text_at, value_at
from driftline.base.outbound.transport import RequestFailed
from monitors.workflows.remote.orchestrators.aws_signature import AccessKey, authorization
from monitors.workflows.remote.orchestrators.base import (
    ExternalState,
    Option,
    Orchestrator,
    Order,
    Pipeline,
    state_of,
)

ARN = re.compile(r"arn:aws[a-z-]*:sagemaker:([a-z0-9-]+):[0-9]{12}:pipeline/[A-Za-z0-9-]+")
EXECUTION_ARN = re.compile(rf"{ARN.pattern}/execution/([A-Za-z0-9]{{1,100}})")
ACCESS_KEY = re.compile(r"(AKIA[A-Z0-9]{12,124}):([A-Za-z0-9/+=]{16,128})")
MAX_LISTED = 100


class SageMaker(Orchestrator):
    title = "Amazon SageMaker Pipelines"
    url = "the address of the API in the pipeline's region, such as https://api.sagemaker.eu-west-1.amazonaws.com"
    secret = "the access key of a user, as access key ID:secret access key"
    options = (
        Option(
            "pipeline", "ARN of the pipeline", "arn:aws:sagemaker:eu-west-1:123456789012:pipeline/retrain"
        ),
    )
    can_poll = can_stop = True

    def fault_in_secret(self, secret: str) -> str:
        if ACCESS_KEY.fullmatch(secret):
            return ""
        return (
            "The secret is no access key of a user; use its ID, which begins with AKIA, a colon and the secret access "
            "key. Temporary keys, which begin with ASIA, would expire."
        )

    def start(self, pipeline: Pipeline, key: str, order: Order) -> str:
        parameters = {"order_url": order["url"], "token": order["callback"]["token"]}
        body = {
            "PipelineName": pipeline.options["pipeline"],
            "PipelineExecutionDisplayName": key,
            "PipelineParameters": [{"Name": name, "Value": value} for name, value in parameters.items()],
            "ClientRequestToken": _request_token(key),
        }
        return _execution_in(_ask(pipeline, "StartPipelineExecution", body))

    def find(self, pipeline: Pipeline, key: str) -> str:
        """Look for the key among the newest executions."""
        body = {
            "PipelineName": pipeline.options["pipeline"],
            "SortBy": "CreationTime",
            "SortOrder": "Descending",
            "MaxResults": MAX_LISTED,
        }
        listed = value_at(_ask(pipeline, "ListPipelineExecutions", body), "PipelineExecutionSummaries")
        if not isinstance(listed, list):
            raise RequestFailed("SageMaker did not list its executions.")
        found = (one for one in listed if value_at(one, "PipelineExecutionDisplayName") == key)
        execution = next(found, None)
        return _execution_in(execution) if execution else ""

    def state(self, pipeline: Pipeline, external_id: str) -> ExternalState:
        found = _ask(pipeline, "DescribePipelineExecution", _named(pipeline, external_id))
        status = text_at(found, "PipelineExecutionStatus")
        return state_of(status, succeeded="Succeeded", failed=("Failed", "Stopped"))

    def stop(self, pipeline: Pipeline, external_id: str) -> None:
        token = {"ClientRequestToken": _request_token(f"stop {external_id}")}
        _ask(pipeline, "StopPipelineExecution", _named(pipeline, external_id) | token)


def _named(pipeline: Pipeline, external_id: str) -> dict[str, str]:
    """Name an execution as the API does: its ARN begins with that of the pipeline."""
    return {"PipelineExecutionArn": f"{pipeline.options['pipeline']}/execution/{external_id}"}


def _execution_in(found: Any) -> str:
    """Return the last part of an execution's ARN; what comes before is the pipeline's."""
    arn = text_at(found, "PipelineExecutionArn")
    execution = EXECUTION_ARN.fullmatch(arn)
    if execution is None:
        raise RequestFailed(f"SageMaker answered {arn[:100]!r}, which is no ARN of an execution.")
    return execution[2]


def _request_token(words: str) -> str:
    """Make a token as long as AWS wants it; a request that has the same one does nothing again."""
    return hashlib.sha256(words.encode()).hexdigest()


def _ask(pipeline: Pipeline, operation: str, body: dict[str, Any]) -> Any:
    """Send one signed request; raises `RequestFailed`."""
    arn, key = ARN.fullmatch(pipeline.options["pipeline"]), ACCESS_KEY.fullmatch(pipeline.secret)
    if arn is None:
        raise RequestFailed(
            f"{pipeline.options['pipeline'][:100]!r} is no ARN of a pipeline; copy it from SageMaker Studio."
        )
    if key is None:
        raise RequestFailed("The pipeline has no access key to sign requests with; set one in the workflow.")
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "Host": urlsplit(pipeline.url).netloc,
        "X-Amz-Date": f"{now():%Y%m%dT%H%M%SZ}",
        "X-Amz-Target": f"SageMaker.{operation}",
    }
    signature = authorization(
        headers, orjson.dumps(body), AccessKey(*key.groups()), region=arn[1], service="sagemaker"
    )
    return call("POST", f"{pipeline.url}/", body=body, headers=headers | {"Authorization": signature})
