"""A FastAPI application that answers by its own model and tells Driftline what it answered.

    export DRIFTLINE_URL=https://driftline.example.org DRIFTLINE_TOKEN=dl_...   # scopes: log, label, write
    uvicorn fastapi_app:app --workers 4

Each worker logs into files of its own in BUFFER, so a worker that is killed loses nothing: the next one sends it.
"""

import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel

from driftline_client import Delivery, aio

BUFFER = os.environ.get("BUFFER", "driftline-buffer")


class Application(BaseModel):
    """What the model is asked about."""

    income: float
    region: str


class Outcome(BaseModel):
    """What really happened."""

    repaid: bool


def score(application: Application) -> float:
    """Return the probability that a loan is repaid; your own model stands here."""
    return 1 / (1 + math.exp(3 - application.income / 10 - (application.region == "north")))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the model when a worker starts, and send what is queued when it stops."""
    async with aio.model(
        "approvals", version="1", task="binary", delivery=Delivery(folder=BUFFER)
    ) as approvals:
        app.state.approvals = approvals
        yield


def watched(request: Request) -> aio.AsyncModelHandle:
    """Return the model that the predictions are logged to."""
    return request.app.state.approvals


Watched = Annotated[aio.AsyncModelHandle, Depends(watched)]

app = FastAPI(lifespan=lifespan)


@app.post("/applications")
async def decide(application: Application, approvals: Watched) -> dict[str, Any]:
    """Decide on an application; the answer's id is how its outcome is told later."""
    probability = score(application)
    prediction = int(probability >= 0.5)
    key = approvals.log(features=application.model_dump(), prediction=prediction, probabilities=probability)
    return {"id": key, "approved": bool(prediction), "probability": probability}


@app.put("/applications/{key}/outcome", status_code=202)
async def tell_outcome(key: str, outcome: Outcome, approvals: Watched) -> None:
    """Report what became of a loan, months later perhaps."""
    approvals.label(key, int(outcome.repaid))


@app.get("/health")
async def health(approvals: Watched) -> dict[str, Any]:
    """Fail where predictions could not be logged, and say why."""
    counts = approvals.counts()
    if counts.dropped or counts.rejected:
        raise HTTPException(503, {"not logged": dict(counts.reasons)})
    return {"sent": counts.sent, "queued": counts.queued}
