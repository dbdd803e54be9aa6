"""What a pipeline reads and sends over HTTP, with the token of its run."""

from typing import Annotated

from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field, TypeAdapter, ValidationError

from driftline.base.accounts.access.http_auth import Caller, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.errors import Problem, invalid, not_found
from driftline.base.http.bodies import Body
from driftline.base.http.downloads import Download, whole_file
from driftline.base.http.request_values import media_type
from driftline.base.http.responses import files
from driftline.base.strict_json import read_json
from monitors.workflows.models import Run
from monitors.workflows.remote import receiving
from monitors.workflows.remote.schemas import RemoteTrainingOut, TrainingOrderOut
from monitors.workflows.remote.snapshot_file import part_name, repr_digest
from monitors.workflows.remote.tokens import PipelineCaller, RunScoped

router = Router(tags=["workflows"])

MAX_METRICS = 100
PARQUET = "application/vnd.apache.parquet"
ONNX = "application/octet-stream"
FORM = "multipart/form-data"
_METRICS = TypeAdapter(dict[Annotated[str, Field(min_length=1, max_length=100)], float])
_PARTS = {
    "metrics": {"type": "string", "description": "JSON: numbers by name, as the pipeline measured them"},
    "lineage": {"type": "string", "description": "the address of the pipeline's own record"},
}
_ARTIFACT = {
    "requestBody": {
        "required": True,
        "content": {
            ONNX: {"schema": {"type": "string", "format": "binary"}},
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "the ONNX file"},
                        **_PARTS,
                    },
                }
            },
        },
    }
}


class TrainingProgress(Body):
    """How far a training is; what is left out stays as it was."""

    progress: float | None = Field(None, ge=0, le=1, description="share that is done")
    message: str | None = Field(None, max_length=200)


class TrainingFailure(Body):
    reason: str = Field(min_length=1, max_length=500)


@router.get("/runs/{int:run_id}/snapshot", auth=RunScoped(SCOPE_OF["run"]), openapi_extra=files(PARQUET))
def read_snapshot(request: HttpRequest, run_id: int, part: int | None = None) -> Download:
    """Download the rows that a pipeline learns from, as Parquet: the features, `label` and `time`.

    With `part` one part of them, so that several workers can read at once; the order says how many there are.
    The newest rows are not among them: champion and challenger are compared on those. The header `Repr-Digest` has
    the SHA-256 of what is sent, which is another than the order's where rows were erased since. A token of the
    project needs the scope `read` beside `deploy`.
    """
    caller = caller_of(request)
    _require_read(caller)
    snapshot = receiving.open_snapshot(run=_run(request, run_id), part=part, actor=caller.actor)
    digest = repr_digest(snapshot)
    name = f"run-{run_id}.parquet" if part is None else f"run-{run_id}-{part_name(part)}"
    answer = whole_file(request, snapshot, name=name, content_type=PARQUET)
    answer["Repr-Digest"] = digest
    return answer


@router.get("/runs/{int:run_id}/order", auth=RunScoped(SCOPE_OF["run"]), response=TrainingOrderOut)
def read_order(request: HttpRequest, run_id: int) -> TrainingOrderOut:
    """Read the order that the pipeline was started with, where its service could not hand over the whole of it.

    `snapshot` is as it is now. A token of the project needs the scope `read` beside `deploy`.
    """
    _require_read(caller_of(request))
    return receiving.read_order(run=_run(request, run_id))


@router.post("/runs/{int:run_id}/progress", auth=RunScoped(SCOPE_OF["run"]), response=RemoteTrainingOut)
def report_progress(request: HttpRequest, run_id: int, body: TrainingProgress) -> RemoteTrainingOut:
    """Report how far a training is; a run that no longer waits for it answers 409, and the pipeline can end."""
    run = _run(request, run_id)
    training = receiving.record_progress(run=run, progress=body.progress, message=body.message)
    return RemoteTrainingOut.of(training)


@router.post("/runs/{int:run_id}/failed", auth=RunScoped(SCOPE_OF["run"]), response=RemoteTrainingOut)
def report_failure(request: HttpRequest, run_id: int, body: TrainingFailure) -> RemoteTrainingOut:
    """Report that the pipeline gives up: the run fails with this reason, and people hear of it."""
    training = receiving.record_failure(
        run=_run(request, run_id), reason=body.reason, actor=caller_of(request).actor
    )
    return RemoteTrainingOut.of(training)


@router.post(
    "/runs/{int:run_id}/artifact",
    auth=RunScoped(SCOPE_OF["run"]),
    openapi_extra=_ARTIFACT,
    response={200: RemoteTrainingOut, 201: RemoteTrainingOut},
)
def send_artifact(request: HttpRequest, run_id: int) -> Status[RemoteTrainingOut]:
    """Send the ONNX, as the body or as a form with `metrics` and `lineage`; the run then goes on by itself.

    A sandboxed child opens it first. It needs the inputs, outputs and classes of the champion, which `job.layout` says.
    Answers 201, or 200 where the run has the same bytes already; other bytes are refused (409), as a run takes one.
    """
    run = _run(request, run_id)
    kind = media_type(request, (ONNX, FORM))
    stream = request.FILES.get("file") if kind == FORM else request
    if stream is None:
        raise invalid("/file", "The form has no part 'file' that holds the ONNX.", "missing_field")
    training, is_new = receiving.receive_artifact(
        run=run,
        stream=stream,
        metrics=_metrics(request),
        lineage_uri=_lineage(request),
        actor=caller_of(request).actor,
    )
    return Status(201 if is_new else 200, RemoteTrainingOut.of(training))


def _require_read(caller: Caller) -> None:
    """Refuse a token of the project that reads no rows; the token of a run reads its own."""
    if not isinstance(caller, PipelineCaller):
        caller.require(Scope.READ)


def _run(request: HttpRequest, run_id: int) -> Run:
    """Find the run that the path names; the token of a run opens no other."""
    caller = caller_of(request)
    if isinstance(caller, PipelineCaller) and caller.run_id != run_id:
        raise Problem(403, "other_run", f"This token opens run {caller.run_id} alone.")
    runs = Run.objects.select_related("model__project", "champion")
    run = runs.filter(pk=run_id, model__project=caller.project).first()
    if run is None:
        raise not_found("run")
    return run


def _metrics(request: HttpRequest) -> dict[str, float]:
    text = request.POST.get("metrics", "")
    if not text:
        return {}
    try:
        metrics = _METRICS.validate_python(read_json(text.encode("utf-8", "surrogatepass")), strict=True)
    except ValidationError as error:
        raise invalid("/metrics", 'metrics must be numbers by name, such as {"roc_auc": 0.71}.') from error
    if len(metrics) > MAX_METRICS:
        raise invalid("/metrics", f"{len(metrics):,} metrics; send up to {MAX_METRICS}.")
    return metrics


def _lineage(request: HttpRequest) -> str:
    text = request.POST.get("lineage", "")
    if len(text) > 500 or not text.isprintable():
        raise invalid(
            "/lineage", "lineage has up to 500 printable characters; send the address of the record."
        )
    return text
