"""Logging over HTTP: predictions that another server made, and labels. pydantic is left out for speed."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.params.functions import Query

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.clock import now
from driftline.base.errors import not_found
from driftline.base.http.request_values import media_type, read_body
from driftline.base.http.uploads import MAX_BODY_BYTES
from driftline.base.ttl_cache import TtlCache
from inference.prediction_log.imports.reading.arrow_bodies import read_arrow
from inference.prediction_log.ingest.parsing import MAX_ITEMS, parse_labels, parse_predictions
from inference.prediction_log.ingest.row_budget import RowBudget
from inference.prediction_log.ingest.store import log_predictions, refuse_while_behind
from inference.prediction_log.items import Arrived, BatchResult
from inference.prediction_log.labels.services import log_labels
from inference.prediction_log.queries import selectors
from inference.prediction_log.queries.exploring import PAGE_SIZE, explore
from inference.prediction_log.queries.filters import filter_of
from inference.prediction_log.queries.viewing import record_view, record_view_of_one
from inference.prediction_log.rows.sent_items import SentLabel, SentPrediction
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.prediction_log.schemas import BatchOut, LoggedPrediction, PredictionsOut
from inference.registry.models import Model
from inference.registry.selectors import find_model, get_model

router = Router(tags=["log"])

JSON_TYPES = ("application/json",)
ARROW_TYPES = ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file")
row_budget = RowBudget(lambda: settings.LOG_ROWS_PER_SECOND)
_models: TtlCache[tuple[int, str], Model] = TtlCache()  # by project and name
LINE_TYPES = ("application/x-ndjson", "application/jsonl", "application/jsonlines")


def body_schema(
    key: str, item: type[msgspec.Struct], *binary: str, lines: tuple[str, ...] = LINE_TYPES[:1]
) -> dict[str, Any]:
    """Describe a body of many items for the OpenAPI document: as JSON, as `lines` of items, and in `binary` formats."""
    _, components = msgspec.json.schema_components([item], ref_template="#/{name}")
    schema = components[item.__name__]
    batch = {
        "type": "object",
        "required": [key],
        "properties": {
            key: {"type": "array", "items": schema, "maxItems": MAX_ITEMS},
            "sent_at": {"type": "string", "format": "date-time"},
        },
    }
    content = {kind: {"schema": batch} for kind in JSON_TYPES} | {kind: {"schema": schema} for kind in lines}
    content |= {kind: {"schema": {"type": "string", "format": "binary"}} for kind in binary}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/models/{name}/predictions",
    auth=Scoped(SCOPE_OF["predictions"]),
    openapi_extra=body_schema("predictions", SentPrediction, *ARROW_TYPES),
    response=BatchOut,
)
def receive_predictions(request: HttpRequest, name: str, atomic: bool = False) -> HttpResponse:
    """Log predictions that another server made: JSON, NDJSON with one item a line, or Arrow IPC; gzip or zstd.

    Arrow's columns are id, timestamp, version, prediction and the other fields, probability or probability_<class>,
    tag_<name>, and one a feature; `sent_at` may stand in the schema's metadata. The answer says what became of each
    item and comes after the commit. Sending an item again is harmless.
    """

    def store(model: Model, body: bytes, *, kind: str, now: datetime) -> tuple[BatchResult, Arrived]:
        refuse_while_behind(model)
        if kind in ARROW_TYPES:
            batch = read_arrow(body, model=model, cap=MAX_BODY_BYTES, now=now)
        else:
            batch = parse_predictions(body, lines=kind in LINE_TYPES, task=model.task, now=now)
        return log_predictions(model=model, batch=batch, now=now, atomic=atomic), batch

    return _receive(request, name, store, JSON_TYPES + LINE_TYPES + ARROW_TYPES)


@router.post(
    "/models/{name}/labels",
    auth=Scoped(SCOPE_OF["labels"]),
    openapi_extra=body_schema("labels", SentLabel),
    response=BatchOut,
)
def receive_labels(request: HttpRequest, name: str, atomic: bool = False) -> HttpResponse:
    """Log labels (true outcomes), in any order, before or after the prediction; a correction supersedes."""

    def store(model: Model, body: bytes, *, kind: str, now: datetime) -> tuple[BatchResult, Arrived]:
        batch = parse_labels(body, lines=kind in LINE_TYPES, task=model.task, now=now)
        source = caller_of(request).source
        return log_labels(model=model, items=batch.items, source=source, now=now, atomic=atomic), batch

    return _receive(request, name, store, JSON_TYPES + LINE_TYPES)


@router.get("/models/{name}/predictions", auth=Scoped(Scope.READ), response=PredictionsOut)
def list_predictions(
    request: HttpRequest,
    name: str,
    start: str = Query("", alias="from"),
    end: str = Query("", alias="to"),
    version: str = Query("", max_length=64),
    role: str = "",
    segment: str = "",
    labelled: str = "",
    correct: str = "",
    score_min: str = "",
    score_max: str = "",
    cursor: str = "",
    limit: int = PAGE_SIZE,
) -> PredictionsOut:
    """List predictions with their labels, newest first, shadows' copies only where `role` asks for them.

    `segment` is feature:value; `labelled` and `correct` are true or false; the score is the probability of the positive
    class, of the likeliest of several, or the predicted number. A page ends after some work, so it may be short, even
    empty, while `next` leads on. `unreadable` says of which times the page lacks rows that are damaged in the log. Each
    page leaves an audit row.
    """
    model = get_model(project=caller_of(request).project, name=name)
    refuse_without_rows(model, "A list of predictions")
    given = {
        "from": start,
        "to": end,
        "version": version,
        "role": role,
        "segment": segment,
        "labelled": labelled,
        "correct": correct,
        "score_min": score_min,
        "score_max": score_max,
    }
    found = explore(wanted=filter_of(model, given, now=now()), cursor=cursor, limit=limit)
    record_view(model=model, given=given, rows=len(found.items), actor=caller_of(request).actor)
    return PredictionsOut(items=found.items, next=found.next, unreadable=found.unreadable)


@router.get(
    "/models/{name}/predictions/{path:prediction_id}", auth=Scoped(Scope.READ), response=LoggedPrediction
)
def read_prediction(request: HttpRequest, name: str, prediction_id: str) -> LoggedPrediction:
    """Look one prediction up: its features, answer, shadows, and the history of its label. Leaves an audit row."""
    model = get_model(project=caller_of(request).project, name=name)
    refuse_without_rows(model, "A look at a prediction")
    found = selectors.prediction(model=model, prediction_id=prediction_id)
    if found is None:
        raise not_found("prediction")
    record_view_of_one(model=model, prediction_id=prediction_id, actor=caller_of(request).actor)
    return found


def _receive(
    request: HttpRequest,
    name: str,
    store: Callable[..., tuple[BatchResult, Arrived]],
    kinds: tuple[str, ...],
) -> HttpResponse:
    project = caller_of(request).project
    model = _models.get((project.pk, name), lambda: find_model(project=project, name=name))
    row_budget.check(project)
    kind = media_type(request, kinds)
    body = read_body(request, cap=MAX_BODY_BYTES)
    result, arrived = store(model, body, kind=kind, now=now())
    row_budget.charge(project, len(result.results))
    caller_of(request).charge_rows(len(result.results))
    body = msgspec.json.encode(BatchOut.of(result, arrived.warnings))
    response = HttpResponse(body, content_type="application/json")
    response["Driftline-Log"] = "committed"
    return response
