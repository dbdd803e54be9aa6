"""Models over HTTP. They are here because the registry has what a model is, and the monitors how it is watched."""

from typing import Annotated, Any, Literal

from django.db import transaction
from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.accounts.http_auth import Caller, Scoped, caller_of
from driftline.accounts.scopes import SCOPE_OF, Scope
from driftline.api.schemas import ModelOut, RetentionPreviewOut, RetriedOut
from driftline.common.bodies import Body
from driftline.common.clock import now
from driftline.common.paging import PAGE_SIZE, cut_page
from driftline.common.responses import Page
from driftline.progress import progress_of, progress_of_each
from driftline.stuck_work import retry, stuck_work, stuck_work_of_each
from inference.registry import services
from inference.registry.models import Model
from inference.registry.selectors import get_model
from inference.registry.services import MAX_RETENTION_DAYS
from monitors import retention_preview
from monitors.definitions.segments import set_segments
from monitors.workflows.models import Workflow
from monitors.workflows.services import configure_workflow

router = Router(tags=["registry"])


class Quality(Body):
    metric: str = Field(max_length=40)
    floor: float


class Objectives(Body):
    """What the model owes its users; default rules and the gate read it."""

    latency_p99_ms: float = Field(default=0.0, gt=0)
    requests_per_second: float = Field(default=0.0, gt=0)
    quality: Quality | None = None
    label_lag_hours: float = Field(default=0.0, ge=0, le=87_600)
    quantile: float = Field(default=0.0, gt=0, lt=1, description="what a regression predicts, if a quantile")


class Gate(Body):
    """What a challenger must show; a margin is the loss that still counts as not worse."""

    objective: str = Field(default="", max_length=40)
    margins: dict[str, Annotated[float, Field(ge=0)]] = {}
    min_segment_labelled: int = Field(default=1, ge=1, le=10_000_000)
    p99_ratio: float = Field(default=1.0, ge=1)
    p99_cap_ms: float | None = Field(default=None, gt=0)


class RolloutStepIn(Body):
    """A share of keys that the challenger answers, and the least that has to be seen before the next one."""

    weight: float = Field(gt=0, lt=1)
    seconds: int = Field(default=0, ge=0)
    rows: int = Field(
        default=0, ge=0, description="predictions of the challenger's own, each row of a batch counted"
    )
    requests: int = Field(default=0, ge=0, description="of the challenger's own; a batch is one")


class RolloutIn(Body):
    """How a challenger that passed the gate takes over; without steps at once. It replaces the plan of before."""

    steps: list[RolloutStepIn] = []
    watch_seconds: int = Field(
        default=0, ge=0, description="after the promotion, with the old champion as reverse shadow"
    )
    max_step_seconds: int = Field(
        default=86_400, ge=1, description="after which a step that did not get what it needs asks a person"
    )
    check_seconds: int = Field(default=15, ge=1, description="between two looks of the guards")
    report_only: list[str] = Field(
        default=[], description="guards that say what they find and change nothing"
    )
    hooks: list[str] = Field(
        default=[], description="webhook channels that are asked before each step and before the promotion"
    )


class WorkflowSettings(Body):
    """How the model is retrained and judged."""

    trainer: str = Field(default="", max_length=100)
    parameters: dict[str, Any] = {}
    training_days: int | None = None
    min_training_rows: int = 0
    memory_mb: int | None = Field(
        default=None, description="that a training may use, in MiB; null: 4096, or all that the machine has"
    )
    pairs: int = 0
    max_pairs: int = 0
    gate: Gate = Field(default_factory=Gate)
    max_runs_a_day: int = 0
    cooldown_hours: int = Field(
        default=0, description="between two starts by rules, a schedule or new labels"
    )
    schedule: str = Field(
        default="", description="cron's five fields, such as 0 3 * * 1; empty starts no run"
    )
    schedule_zone: str = "UTC"
    every_labels: int | None = Field(default=None, description="new labelled rows that start a run")
    on_new_reference: bool = Field(
        default=False, description="whether a reference that replaces the champion's starts a run"
    )
    rollout: RolloutIn = Field(default_factory=RolloutIn)
    remote: dict[str, str] = Field(
        default={},
        max_length=10,
        description="the pipeline that the trainer remote starts: kind, url and the options of the kind",
    )
    training_hours: int = Field(default=24, description="that a pipeline may take")


class WorkflowChanges(WorkflowSettings):
    """The same with the pipeline's secret, which is kept encrypted, never shown, and never part of a configuration."""

    remote_secret: str = Field(
        default="", max_length=4096, description="empty removes it; another url or kind removes it too"
    )


class RetentionChanges(Body):
    retention_days: int | None = Field(default=None, ge=0, le=MAX_RETENTION_DAYS)
    summary_retention_days: int | None = Field(default=None, ge=0, le=MAX_RETENTION_DAYS)
    rows_kept: Literal["all", "none"] = Field(
        "all",
        description="none: each row is dropped once it is summarised, also those that are stored already",
    )


class ModelChanges(RetentionChanges):
    description: str = Field(default="", max_length=500)
    owner: str = Field(
        default="", max_length=200, description="the person or team that answers for the model"
    )
    tags: list[Annotated[str, Field(min_length=1, max_length=50)]] = Field(
        [], max_length=20, description="words to find the model by; they replace those of before"
    )
    autonomy: str = Field("approve", max_length=10)
    objectives: Objectives = Field(default_factory=Objectives)
    privacy: dict[
        Annotated[str, Field(min_length=1, max_length=100)], Literal["keep", "hash", "drop", "summary"]
    ] = Field({}, max_length=1_000)
    schema_policy: str = Field("lenient", max_length=10)
    text_features: list[Annotated[str, Field(min_length=1, max_length=80)]] = Field(
        [], max_length=50, description="features that are texts, of which lengths and scripts are compared"
    )
    thumbnail_share: float = Field(
        0.0, ge=0, le=1, description="share of the images that versions take of which a thumbnail is kept"
    )
    segments: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field([], max_length=100)
    archived: bool = Field(False, description="true: it is not listed, and its rules are not judged")
    workflow: WorkflowChanges = Field(default_factory=WorkflowChanges)

    def registry_settings(self) -> dict[str, Any]:
        """Return the sent fields that the registry keeps, as it takes them."""
        kept = {
            "name",
            "task",
            "description",
            "owner",
            "tags",
            "autonomy",
            "objectives",
            "retention_days",
            "summary_retention_days",
            "privacy",
            "schema_policy",
            "rows_kept",
            "text_features",
            "thumbnail_share",
            "positive_class",
        }
        return self.model_dump(include=kept & self.model_fields_set, exclude_unset=True)

    def changed_things(self) -> dict[str, str]:
        """Return what the sent fields change, by their pointers, as the table of rights calls it."""
        return {f"/{name}": f"model.{name}" for name in sorted(self.model_fields_set)}


class ChangedModel(ModelChanges):
    task: str = Field("binary", max_length=10, description="changes only while the model has no version")
    positive_class: str = Field(
        "",
        max_length=200,
        description="of the champion, where another server answers: what its probability is of",
    )


class NewModel(ModelChanges):
    name: str
    task: str

    def changed_things(self) -> dict[str, str]:
        """Leave out what a new model has anyway, and its objectives: there is no version yet that they could deploy."""
        usual = {
            name: field.get_default(call_default_factory=True)
            for name, field in NewModel.model_fields.items()
        }
        changed = super().changed_things()
        return {
            pointer: thing
            for pointer, thing in changed.items()
            if thing != "model.objectives" and getattr(self, pointer[1:]) != usual[pointer[1:]]
        }


@router.post("/models", auth=Scoped(SCOPE_OF["model"]), response={201: ModelOut})
def create_model(request: HttpRequest, body: NewModel) -> Status[ModelOut]:
    """Create a model, which is watched from its first prediction on."""
    caller = caller_of(request)
    caller.check_rights(body.changed_things())
    with transaction.atomic():
        model = services.create_model(project=caller.project, actor=caller.actor, **body.registry_settings())
        _watch(model, caller, body)
    return Status(201, _describe(model))


@router.get("/models", auth=Scoped(Scope.READ), response=Page[ModelOut])
def list_models(
    request: HttpRequest,
    archived: bool = False,
    search: str = "",
    task: str = "",
    owner: str = "",
    tag: str = "",
    cursor: str = "",
    limit: int = PAGE_SIZE,
) -> Page[ModelOut]:
    """List the project's models, or those that are archived; by a text in name or description, task, owner and tag."""
    models = (
        Model.objects.of_project(caller_of(request).project)
        .filter(archived_at__isnull=not archived)
        .matching(search=search, task=task, owner=owner, tag=tag)
        .select_related("deployment__champion", "workflow")
    )
    found, following = cut_page(
        models.prefetch_related("segment_features"), by=("pk",), cursor=cursor, limit=limit
    )
    progress, stuck = progress_of_each(found), stuck_work_of_each(found)
    items = [
        ModelOut.of(
            model,
            progress[model.pk],
            stuck[model.pk],
            model.workflow if hasattr(model, "workflow") else Workflow(model=model),
        )
        for model in found
    ]
    return Page(items=items, next=following)


@router.get("/models/{name}", auth=Scoped(Scope.READ), response=ModelOut)
def read_model(request: HttpRequest, name: str) -> ModelOut:
    """Read one model; `computed_until` says up to which event time everything is computed and acted on."""
    return _describe(get_model(project=caller_of(request).project, name=name))


@router.patch("/models/{name}", auth=Scoped(SCOPE_OF["model"]), response=ModelOut)
def change_model(request: HttpRequest, name: str, body: ChangedModel) -> ModelOut:
    """Change the fields that are sent."""
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    caller.check_rights(body.changed_things())
    with transaction.atomic():
        if changes := body.registry_settings():
            services.update_model(model=model, actor=caller.actor, **changes)
        _watch(model, caller, body)
    return _describe(model)


@router.post("/models/{name}/retry", auth=Scoped(Scope.WRITE), response=RetriedOut)
def retry_failed(request: HttpRequest, name: str) -> RetriedOut:
    """Have everything of a model that could not be summarised, measured or judged tried anew."""
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    return RetriedOut(retried=retry(model=model, actor=caller.actor))


@router.post("/models/{name}/retention/preview", auth=Scoped(Scope.READ), response=RetentionPreviewOut)
def preview_retention(request: HttpRequest, name: str, body: RetentionChanges) -> RetentionPreviewOut:
    """Tell what a changed retention would delete, beside what is due to go anyway. Nothing is changed.

    What is not sent stays as it is. Bytes are those of chunks and summaries, as they are stored.
    """
    model = get_model(project=caller_of(request).project, name=name)
    changes = body.model_dump(exclude_unset=True)
    return RetentionPreviewOut.of(retention_preview.preview_retention(model=model, now=now(), **changes))


def _watch(model: Model, caller: Caller, body: ModelChanges) -> None:
    if "archived" in body.model_fields_set:
        services.archive_model(model=model, is_archived=body.archived, actor=caller.actor)
    if "segments" in body.model_fields_set:
        set_segments(model=model, features=body.segments, actor=caller.actor)
    if "workflow" in body.model_fields_set:
        configure_workflow(model=model, actor=caller.actor, **body.workflow.model_dump(exclude_unset=True))


def _describe(model: Model) -> ModelOut:
    return ModelOut.of(model, progress_of(model), stuck_work([model]), Workflow.of(model))
