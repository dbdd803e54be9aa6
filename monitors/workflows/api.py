"""Runs and the comparison of two versions over HTTP."""

from django.http import HttpRequest
from ninja import Router
from ninja.params.functions import Header, Query
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.clock import now
from driftline.base.http.bodies import Body
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.request_values import bounds
from driftline.base.http.responses import Page
from inference.registry.models import Model
from inference.registry.selectors import get_model
from monitors.workflows import selectors, services
from monitors.workflows.models import Run
from monitors.workflows.rollouts.services import pause_rollout, resume_rollout, roll_back_run
from monitors.workflows.schemas import AgreementOut, PairedComparisonOut, RunOut, UnpairedComparisonOut
from monitors.workflows.starting import starts

router = Router(tags=["workflows"])


class Decision(Body):
    reason: str = Field("", max_length=200)


class RunStart(Body):
    version: str = Field("", max_length=64)


@router.get("/models/{name}/runs", auth=Scoped(Scope.READ), response=Page[RunOut])
def list_runs(request: HttpRequest, name: str, cursor: str = "", limit: int = PAGE_SIZE) -> Page[RunOut]:
    """List a model's retrain runs, newest first, with every step's evidence."""
    runs = selectors.runs_of(_model(request, name))
    return page(runs, RunOut.of, by=("-pk",), cursor=cursor, limit=limit)


@router.post("/models/{name}/runs", auth=Scoped(SCOPE_OF["run"]), response={201: RunOut})
def start_run(
    request: HttpRequest,
    name: str,
    body: RunStart | None = None,
    key: str = Header("", alias="Idempotency-Key", max_length=255),
) -> Status[RunOut]:
    """Start a run by hand: train a challenger, or compare the `version` that was trained elsewhere and uploaded.

    Such a run begins at the shadow. A request that is sent again with the same `Idempotency-Key` starts nothing and is
    answered with the run that the first one started.
    """
    actor = caller_of(request).actor
    run = starts.start_run(
        model=_model(request, name),
        trigger=f"started by {actor}",
        actor=actor,
        version=body.version if body else "",
        request_key=key,
    )
    return Status(201, RunOut.of(run))


@router.get("/models/{name}/runs/{int:run_id}", auth=Scoped(Scope.READ), response=RunOut)
def read_run(request: HttpRequest, name: str, run_id: int) -> RunOut:
    """Read one run with every step's evidence and the verdict."""
    return RunOut.of(_run(request, name, run_id))


@router.post("/models/{name}/runs/{int:run_id}/approve", auth=Scoped(SCOPE_OF["run"]), response=RunOut)
def approve_run(request: HttpRequest, name: str, run_id: int) -> RunOut:
    """Allow a run that waits for a person to promote its challenger."""
    run = services.approve(run=_run(request, name, run_id), actor=caller_of(request).actor)
    return RunOut.of(run)


@router.post("/models/{name}/runs/{int:run_id}/reject", auth=Scoped(SCOPE_OF["run"]), response=RunOut)
def reject_run(request: HttpRequest, name: str, run_id: int, body: Decision | None = None) -> RunOut:
    """End a run because its challenger is not wanted."""
    run = _run(request, name, run_id)
    ended = services.reject(run=run, actor=caller_of(request).actor, reason=body.reason if body else "")
    return RunOut.of(ended)


@router.post("/models/{name}/runs/{int:run_id}/cancel", auth=Scoped(SCOPE_OF["run"]), response=RunOut)
def cancel_run(request: HttpRequest, name: str, run_id: int, body: Decision | None = None) -> RunOut:
    """End a run, whatever it is doing."""
    run = _run(request, name, run_id)
    ended = services.cancel(run=run, actor=caller_of(request).actor, reason=body.reason if body else "")
    return RunOut.of(ended)


@router.post("/models/{name}/runs/{int:run_id}/pause", auth=Scoped(SCOPE_OF["run"]), response=RunOut)
def pause_run(request: HttpRequest, name: str, run_id: int) -> RunOut:
    """Keep the share that the challenger answers until the rollout is resumed; guards may still roll it back."""
    run = _run(request, name, run_id)
    pause_rollout(run=run, actor=caller_of(request).actor)
    return RunOut.of(_run(request, name, run_id))


@router.post("/models/{name}/runs/{int:run_id}/resume", auth=Scoped(SCOPE_OF["run"]), response=RunOut)
def resume_run(request: HttpRequest, name: str, run_id: int) -> RunOut:
    """Resume a paused rollout; after the promotion, end the watch beside the old champion.

    A rollout that a person paused goes on as planned. One that paused because a step did not get what it needs takes
    the next step at once.
    """
    run = _run(request, name, run_id)
    resume_rollout(run=run, actor=caller_of(request).actor)
    return RunOut.of(_run(request, name, run_id))


@router.post("/models/{name}/runs/{int:run_id}/roll-back", auth=Scoped(SCOPE_OF["run"]), response=RunOut)
def roll_back(request: HttpRequest, name: str, run_id: int, body: Decision | None = None) -> RunOut:
    """End a rollout, or the watch after a promotion: the champion of before answers every request again."""
    run = _run(request, name, run_id)
    roll_back_run(run=run, actor=caller_of(request).actor, reason=body.reason if body else "")
    return RunOut.of(_run(request, name, run_id))


@router.get(
    "/models/{name}/comparison", auth=Scoped(Scope.READ), response=PairedComparisonOut | UnpairedComparisonOut
)
def read_comparison(
    request: HttpRequest,
    name: str,
    challenger: str,
    start: str = Query("", alias="from"),
    end: str = Query("", alias="to"),
) -> PairedComparisonOut | UnpairedComparisonOut:
    """Compare a challenger with the champion and give the gate's verdict: on all evidence, or on that of a period.

    `kind` is `paired` for a version that shadowed: both answered the same requests. A canary that never shadowed
    has no pairs, so `unpaired` compares the requests that each side answered, over `since` to `until`; `sides` holds
    how many they were, and a promotion on such evidence needs a person.
    """
    first, last = bounds(start, end, now=now())
    return selectors.comparison(model=_model(request, name), challenger=challenger, start=first, end=last)


@router.get("/models/{name}/agreement", auth=Scoped(Scope.READ), response=AgreementOut)
def read_agreement(request: HttpRequest, name: str, challenger: str) -> AgreementOut:
    """Compare what a challenger and the champion it shadowed answered to the same requests, labels or not.

    Covers the newest pairs, at most 20,000; `disagreeing` holds those whose scores lie furthest apart.
    """
    return AgreementOut.of(*selectors.require_agreement(model=_model(request, name), challenger=challenger))


def _model(request: HttpRequest, name: str) -> Model:
    return get_model(project=caller_of(request).project, name=name)


def _run(request: HttpRequest, name: str, run_id: int) -> Run:
    return selectors.get_run(model=_model(request, name), run_id=run_id)
