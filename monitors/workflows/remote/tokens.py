"""Run tokens: what a pipeline shows, which opens one run's snapshot, progress, artifact and failure, and nothing else.

A token is derived from a nonce and our own key, so that a start which is repeated sends the same one; only its digest
is stored. It opens nothing once the run has ended or its deadline has passed.
"""

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from driftline.base.accounts.access.http_auth import Caller, Scoped, refuse_token_in_url
from driftline.base.accounts.models import digest_of
from driftline.base.http.identity import note_identity
from driftline.base.http.rate_budget import budget_of
from driftline.base.outbound.secrecy import RUN_TOKEN_PREFIX
from monitors.workflows.models import RemoteTraining

REQUESTS_PER_SECOND = 5


@dataclass(frozen=True)
class PipelineCaller(Caller):
    """A pipeline, which acts for one run."""

    run_id: int = 0


class RunScoped(Scoped):
    """Admits a request with the token of a run, or with one of the project that has the scope."""

    def __call__(self, request: HttpRequest) -> Caller:
        refuse_token_in_url(request)
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and (caller := _pipeline_with(text.strip())):
            note_identity(request, caller.actor)
            caller.take_request()
            return caller
        return super().__call__(request)


def new_nonce() -> str:
    """Make what the token of a run is derived from."""
    return secrets.token_hex(16)


def make_token(run_id: int, nonce: str) -> str:
    """Derive the token of a new run from the present key."""
    return _derive(run_id, nonce, settings.SECRET_KEY)


def token_of(training: RemoteTraining) -> str | None:
    """Derive the token of a run again, from the key that it was made with; None where that key is not kept any more."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    derived = (_derive(training.run_id, training.token_nonce, key) for key in keys)
    return next((token for token in derived if digest_of(token) == training.token_digest), None)


def _derive(run_id: int, nonce: str, key: str | bytes) -> str:
    value = f"{run_id}.{nonce}"
    digest = salted_hmac("driftline.run_token", value, secret=key, algorithm="sha256").hexdigest()
    return RUN_TOKEN_PREFIX + digest


def _pipeline_with(token: str) -> PipelineCaller | None:
    if not token.startswith(RUN_TOKEN_PREFIX):
        return None
    found = RemoteTraining.objects.filter(token_digest=digest_of(token))
    training = found.select_related("run__model__project").first()
    if training is None:
        return None
    return PipelineCaller(
        project=training.run.model.project,
        actor=f"pipeline of run {training.run_id}",
        source=RUN_TOKEN_PREFIX,
        scopes=frozenset(),
        run_id=training.run_id,
        budget=budget_of(training.token_digest, REQUESTS_PER_SECOND, 0),
    )
