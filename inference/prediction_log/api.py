"""Logging over HTTP: predictions that another server made, and labels. pydantic is left out for speed."""

from collections.abc import Callable
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from ninja import Router

from driftline.accounts.http_auth import Scoped, caller_of
from driftline.common.clock import now
from driftline.common.errors import not_found
from driftline.common.request_values import media_type, read_body
from inference.prediction_log import parsing, selectors
from inference.prediction_log.items import Batch, BatchResult
from inference.prediction_log.labels import log_labels
from inference.prediction_log.sent_items import SentLabel, SentPrediction
from inference.prediction_log.store import log_predictions
from inference.registry.selectors import get_model

router = Router(tags=["log"])

MAX_BYTES = 32 << 20
JSON_TYPES = ("application/json",)
LINE_TYPES = ("application/x-ndjson", "application/jsonl", "application/jsonlines")


def _body_schema(key: str, item: type[msgspec.Struct]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([item], ref_template="#/{name}")
    schema = components[item.__name__]
    batch = {
        "type": "object",
        "required": [key],
        "properties": {
            key: {"type": "array", "items": schema, "maxItems": parsing.MAX_ITEMS},
            "sent_at": {"type": "string", "format": "date-time"},
        },
    }
    content = {kind: {"schema": batch} for kind in JSON_TYPES} | {LINE_TYPES[0]: {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/models/{name}/predictions",
    auth=Scoped("log"),
    openapi_extra=_body_schema("predictions", SentPrediction),
)
def receive_predictions(request: HttpRequest, name: str, atomic: bool = False) -> HttpResponse:
    """Log predictions that another server made: JSON, or NDJSON with one item a line; gzip or zstd.

    The answer says what became of each item and comes after the commit. Sending an item again is harmless.
    """
    return _receive(request, name, atomic, parsing.parse_predictions, log_predictions)


@router.post("/models/{name}/labels", auth=Scoped("label"), openapi_extra=_body_schema("labels", SentLabel))
def receive_labels(request: HttpRequest, name: str, atomic: bool = False) -> HttpResponse:
    """Log what really happened, in any order, before or after the prediction; a correction supersedes."""
    return _receive(request, name, atomic, parsing.parse_labels, log_labels)


@router.get("/models/{name}/predictions/{path:prediction_id}", auth=Scoped("read"))
def read_prediction(request: HttpRequest, name: str, prediction_id: str) -> Any:
    """Look one prediction up: its features, answer, shadows, and the history of its label."""
    model = get_model(project=caller_of(request).project, name=name)
    found = selectors.prediction(model=model, prediction_id=prediction_id)
    if found is None:
        raise not_found("prediction")
    return found


def _receive(
    request: HttpRequest,
    name: str,
    atomic: bool,
    parse: Callable[..., Batch[Any]],
    store: Callable[..., BatchResult],
) -> HttpResponse:
    caller, moment = caller_of(request), now()
    model = get_model(project=caller.project, name=name)
    kind = media_type(request, JSON_TYPES + LINE_TYPES)
    body = read_body(request, cap=MAX_BYTES)
    batch = parse(body, lines=kind in LINE_TYPES, task=model.task, now=moment)
    result = store(model=model, items=batch.items, source=caller.source, now=moment, atomic=atomic)
    answer = msgspec.structs.asdict(result) | ({"warnings": batch.warnings} if batch.warnings else {})
    response = HttpResponse(msgspec.json.encode(answer), content_type="application/json")
    response["Driftline-Log"] = "committed"
    return response
